//! Which addresses the gateway may connect to. Asked at connect time about each resolved address, so
//! neither odd spellings of a URL nor a name that resolves differently the second time get around it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::RwLock;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Answers whether the gateway may connect to an address.
#[derive(Debug, Default)]
pub struct Guard {
    allow: Vec<IpNet>,
    own: RwLock<Vec<SocketAddr>>,
}

/// An address that the gateway does not connect to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{address} is {what}")]
pub struct AddressRefused {
    /// The address.
    pub address: SocketAddr,
    /// What it is, and what would help where something would.
    pub what: &'static str,
}

const METADATA: &str = "a cloud metadata or link-local address, which is never allowed";
const NOBODY: &str = "not the address of one host, which is never allowed";
const OWN: &str = "one of the gateway's own listeners or its database, which is never allowed";
const PRIVATE: &str = "not a public address; egress.allow_cidrs does not name it";

/// Never, whatever the configuration says: link-local, and cloud metadata that lies elsewhere.
const NEVER_V4: [Ipv4Net; 4] = [
    v4(169, 254, 0, 0, 16),
    v4(100, 100, 100, 200, 32),
    v4(168, 63, 129, 16, 32),
    v4(192, 0, 0, 192, 32),
];
/// Never: no single host answers there.
const NOBODY_V4: [Ipv4Net; 3] =
    [v4(0, 0, 0, 0, 8), v4(224, 0, 0, 0, 4), v4(255, 255, 255, 255, 32)];
/// Only where the operator names them.
const PRIVATE_V4: [Ipv4Net; 12] = [
    v4(10, 0, 0, 0, 8),
    v4(100, 64, 0, 0, 10),
    v4(127, 0, 0, 0, 8),
    v4(172, 16, 0, 0, 12),
    v4(192, 0, 0, 0, 24),
    v4(192, 0, 2, 0, 24),
    v4(192, 88, 99, 0, 24),
    v4(192, 168, 0, 0, 16),
    v4(198, 18, 0, 0, 15),
    v4(198, 51, 100, 0, 24),
    v4(203, 0, 113, 0, 24),
    v4(240, 0, 0, 0, 4),
];

const NEVER_V6: [Ipv6Net; 3] = [
    v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10),
    v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254], 128),
    v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254], 128),
];
const NOBODY_V6: [Ipv6Net; 2] = [v6([0; 8], 128), v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8)];
/// The public part of IPv6; everything else only where the operator names it.
const PUBLIC_V6: Ipv6Net = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);
/// Not public although inside: protocol assignments with Teredo, documentation, 6to4.
const PRIVATE_V6: [Ipv6Net; 4] = [
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23),
    v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32),
    v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16),
    v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20),
];

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(s: [u16; 8], prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]), prefix)
}

impl Guard {
    /// Public addresses, and what `allow` names beyond them.
    pub fn new(allow: Vec<IpNet>) -> Guard {
        Guard { allow, own: RwLock::default() }
    }

    /// Never connect to `address` from now on: a listener of ours, or the database.
    pub fn forbid(&self, address: SocketAddr) {
        let own = SocketAddr::new(address.ip().to_canonical(), address.port());
        self.own.write().unwrap_or_else(|poisoned| poisoned.into_inner()).push(own);
    }

    /// The address to connect to: the same, IPv4 in IPv6 unwrapped.
    pub fn check(&self, address: SocketAddr) -> Result<SocketAddr, AddressRefused> {
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        let refused = |what| Err(AddressRefused { address, what });
        // An address that carries another one reaches it through a translator: both must pass.
        for ip in std::iter::once(address.ip()).chain(carried(address.ip()).map(IpAddr::V4)) {
            if is_never(ip) {
                return refused(METADATA);
            }
            if is_nobody(ip) {
                return refused(NOBODY);
            }
            if !is_public(ip) && !self.allow.iter().any(|net| net.contains(&ip)) {
                return refused(PRIVATE);
            }
        }
        if self.is_own(address) {
            return refused(OWN);
        }
        Ok(address)
    }

    fn is_own(&self, address: SocketAddr) -> bool {
        let own = self.own.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        own.iter().filter(|own| own.port() == address.port()).any(|own| {
            own.ip() == address.ip() || (own.ip().is_unspecified() && is_this_host(address.ip()))
        })
    }
}

/// True when packets to `ip` leave from `ip` itself. Connecting a datagram socket sends nothing.
fn is_this_host(ip: IpAddr) -> bool {
    let any: SocketAddr = match ip {
        IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        IpAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let source = UdpSocket::bind(any).and_then(|socket| {
        socket.connect((ip, 9))?;
        socket.local_addr()
    });
    ip.is_loopback() || source.is_ok_and(|source| source.ip() == ip)
}

/// The IPv4 address inside a translated IPv6 one: IPv4-compatible, NAT64, 6to4, Teredo.
fn carried(ip: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(ip) = ip else { return None };
    let s = ip.segments();
    let from = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match s {
        // `::` and `::1` are addresses of their own.
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 || low > 1 => Some(from(high, low)),
        [0x64, 0xff9b, .., high, low] => Some(from(high, low)),
        [0x2002, high, low, ..] => Some(from(high, low)),
        [0x2001, 0, .., high, low] => Some(from(!high, !low)),
        _ => None,
    }
}

fn is_never(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => NEVER_V4.iter().any(|net| net.contains(&ip)),
        IpAddr::V6(ip) => NEVER_V6.iter().any(|net| net.contains(&ip)),
    }
}

fn is_nobody(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => NOBODY_V4.iter().any(|net| net.contains(&ip)),
        IpAddr::V6(ip) => NOBODY_V6.iter().any(|net| net.contains(&ip)),
    }
}

fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !PRIVATE_V4.iter().any(|net| net.contains(&ip)),
        IpAddr::V6(ip) => {
            PUBLIC_V6.contains(&ip) && !PRIVATE_V6.iter().any(|net| net.contains(&ip))
        }
    }
}
