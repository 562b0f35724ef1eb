//! haproxy in front of replicas, as operators run it: requests in turn, and a look at `/health/ready` ten times a
//! second to see who takes them. Debian's package; `tests/prepare.sh` installs it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use uuid::Uuid;

use crate::process::{Tied, free_port};
use crate::wait::eventually;

/// A running haproxy; ends when dropped.
#[derive(Debug)]
pub struct Haproxy {
    port: u16,
    dir: PathBuf,
    process: Option<Tied>,
}

impl Haproxy {
    /// Knows its address, and nothing runs yet: the replicas have to know it, too.
    pub fn prepare() -> Haproxy {
        let dir = std::env::temp_dir().join(format!("gateway-haproxy-{}", Uuid::new_v4().simple()));
        fs::create_dir(&dir).expect("the temporary folder can be written");
        Haproxy { port: free_port(), dir, process: None }
    }

    /// Where clients reach it, without a slash at the end.
    pub fn base(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Starts it before replicas, each by its base URL and that of its admin listener; returns once it listens.
    pub async fn start(&mut self, replicas: &[(&str, &str)]) {
        let mut config = format!(
            "defaults\n mode http\n timeout connect 2s\n timeout client 60s\n timeout server 60s\n \
             option redispatch\n retries 3\n\
             frontend clients\n bind 127.0.0.1:{}\n default_backend replicas\n\
             backend replicas\n balance roundrobin\n option httpchk GET /health/ready\n \
             default-server check inter 100ms fall 1 rise 1\n",
            self.port
        );
        for (n, (base, admin)) in replicas.iter().enumerate() {
            let at = |url: &str| url.trim_start_matches("http://").to_owned();
            let admin = at(admin);
            let port = admin.rsplit(':').next().unwrap_or_default();
            config.push_str(&format!(" server replica{n} {} port {port}\n", at(base)));
        }
        let file = self.dir.join("haproxy.cfg");
        fs::write(&file, config).expect("it is our folder");
        let mut command = Command::new(find());
        command.arg("-db").arg("-f").arg(&file);
        let log = self.dir.join("log");
        let started = Tied::start(command, &log, "KILL", Some(&self.dir));
        self.process = Some(started.expect("haproxy runs: Debian's package haproxy"));
        eventually("haproxy listens", Duration::from_secs(10), async || {
            tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.ok().map(drop)
        })
        .await;
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        self.process = None;
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Users' `PATH` seldom has `/usr/sbin`.
fn find() -> &'static Path {
    let packaged = Path::new("/usr/sbin/haproxy");
    if packaged.exists() { packaged } else { Path::new("haproxy") }
}
