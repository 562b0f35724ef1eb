//! Addresses of servers (E1): whatever the spelling of a URL, no connection is tried to where nobody may reach.
//!
//! A resolver stands for the operating system's: it notes what the gateway would connect to, compares the guard's
//! verdict with a slow one of its own, and never names an address that could be connected to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use gateway_governance::Fetch;
use gateway_server::upstream::{Guard, Leg, LegSettings, Resolve};
use tokio::runtime::{Builder, Runtime};
use url::Url;

use super::Target;

pub(super) const TARGET: Target = Target {
    name: "address",
    run,
    inputs: 15_000,
    words: &[
        b"http://",
        b"https://",
        b"127.0.0.1",
        b"169.254.169.254",
        b"0x7f",
        b"0177",
        b"2130706433",
        b"[::1]",
        b"[::ffff:",
        b"[64:ff9b::",
        b"[2002:",
        b"]",
        b":80",
        b"/",
        b"@",
        b"#",
        b"?",
        b"\\",
        b"%31",
        b"%00",
        b".",
        b"\xe3\x80\x82",
        b"\xef\xbc\x91",
        b"\xe2\x91\xa0",
        b"localhost",
        b"example.com",
        b"0",
        b"255",
        b"256",
        b"\t",
        b"a9fe",
        b"fe80::",
        b"fd00:ec2::254",
        b"%25eth0",
    ],
};

struct Ours {
    guard: Arc<Guard>,
    leg: Leg,
    runtime: Runtime,
}

static OURS: LazyLock<Ours> = LazyLock::new(|| {
    let guard = Arc::new(Guard::new(vec![]));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let resolver = Arc::new(Watching(Arc::clone(&guard)));
    let leg = Leg::with(Arc::clone(&guard), LegSettings::default(), resolver, tls);
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    Ours { guard, leg, runtime }
});

struct Watching(Arc<Guard>);

#[async_trait]
impl Resolve for Watching {
    async fn resolve(&self, host: &str, port: u16) -> std::io::Result<Vec<SocketAddr>> {
        match host.parse::<IpAddr>() {
            Ok(ip) => {
                check(&self.0, ip);
                // What is public must not really be connected to; the rest is the guard's to refuse.
                Ok(if is_public(ip) { vec![] } else { vec![SocketAddr::new(ip, port)] })
            }
            Err(_) => {
                // The system's resolver would take `0x7f.1` for an address: `Url` must have read it before.
                assert!(!host.split('.').all(is_number), "{host:?} could be an address");
                Ok(vec![])
            }
        }
    }
}

/// As `inet_aton` reads a part of an address.
fn is_number(part: &str) -> bool {
    let hexadecimal = part.strip_prefix("0x").or(part.strip_prefix("0X"));
    let digits = hexadecimal.unwrap_or(part);
    let radix = if hexadecimal.is_some() { 16 } else { 10 };
    !part.is_empty() && digits.chars().all(|c| c.is_digit(radix))
}

fn check(guard: &Guard, ip: IpAddr) {
    let passes = guard.check(SocketAddr::new(ip, 80)).is_ok();
    assert!(!passes || is_public(ip), "{ip} passes");
}

/// The bytes as addresses, then as a URL, then as an address in one of many spellings.
fn run(input: &[u8]) {
    let ours = &*OURS;
    if let Some(bytes) = input.first_chunk::<16>() {
        check(&ours.guard, IpAddr::V6(Ipv6Addr::from(*bytes)));
    }
    let four = input.first_chunk::<4>().map(|bytes| Ipv4Addr::from(*bytes));
    if let Some(ip) = four {
        check(&ours.guard, IpAddr::V4(ip));
        fetch(ours, &spelled(ip, input[3]));
    }
    fetch(ours, &String::from_utf8_lossy(input));
}

fn fetch(ours: &Ours, text: &str) {
    let Ok(url) = Url::parse(text) else { return };
    let fetched = ours.runtime.block_on(ours.leg.get(&url, 100));
    assert!(fetched.is_err(), "{url} was fetched");
}

/// The address in a spelling that somebody may hope is overlooked.
fn spelled(ip: Ipv4Addr, which: u8) -> String {
    let [a, b, c, d] = ip.octets();
    let number = u32::from(ip);
    match which % 10 {
        0 => format!("http://{number}/"),
        1 => format!("http://{number:#x}/"),
        2 => format!("http://0{number:o}/"),
        3 => format!("http://0{a:o}.{b:#x}.{c}.{d}/"),
        4 => format!("http://{a}.{}/", number & 0x00ff_ffff),
        5 => format!("http://[::ffff:{ip}]/"),
        6 => format!("http://[64:ff9b::{ip}]/"),
        7 => format!("http://[2002:{:x}:{:x}::1]/", number >> 16, number & 0xffff),
        8 => format!("http://%3{}{}.{b}.{c}.{d}./", a % 10, a / 10),
        _ => format!("http://{}/", ip.to_string().replace('.', "。").replace('1', "１")),
    }
}

/// Written from the registries of special addresses, with the standard library's names where it has them.
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => {
            let s = ip.segments();
            if let Some(mapped) = ip.to_ipv4_mapped() {
                return is_public_v4(mapped);
            }
            // 2000::/3 without Teredo and other protocol assignments, documentation, 6to4.
            let global = (0x2000..0x4000).contains(&s[0]);
            let special = (s[0] == 0x2001 && (s[1] < 0x200 || s[1] == 0xdb8))
                || s[0] == 0x2002
                || (s[0] == 0x3fff && s[1] < 0x1000);
            global && !special
        }
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, d] = ip.octets();
    let special = ip.is_loopback()
        || ip.is_private()
        || ip.is_link_local()
        || ip.is_multicast()
        || ip.is_broadcast()
        || ip.is_documentation();
    let registered = matches!(
        (a, b, c),
        (0 | 240..=255, ..) | (192, 0, 0) | (192, 88, 99) | (100, 64..=127, _) | (198, 18..=19, _)
    );
    // Clouds' own, outside of link-local.
    let cloud = [a, b, c, d] == [168, 63, 129, 16];
    !special && !registered && !cloud
}
