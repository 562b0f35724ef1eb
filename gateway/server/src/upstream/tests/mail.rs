//! Letters: taken by a mail server as they are meant, and never carried where the guard does not let through
//! or in the open where TLS was asked for.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use gateway_governance::{Letter, Mail};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use uuid::Uuid;

use super::super::address::Guard;
use super::super::mail::{MailLeg, MailSettings};
use crate::config::SmtpTls;

/// A mail server that speaks as much SMTP as it takes, and remembers every line that it is sent.
struct Sink {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Sink {
    async fn start() -> Sink {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard: Arc<Mutex<Vec<String>>> = Arc::default();
        let remembered = heard.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                remembered.lock().unwrap().push("(connected)".into());
                let remembered = remembered.clone();
                tokio::spawn(async move { talk(socket, &remembered).await });
            }
        });
        Sink { address, heard }
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

async fn talk(mut socket: TcpStream, heard: &Mutex<Vec<String>>) {
    let (read, mut write) = socket.split();
    let mut lines = BufReader::new(read).lines();
    let _ = write.write_all(b"220 sink ready\r\n").await;
    let mut in_letter = false;
    while let Ok(Some(line)) = lines.next_line().await {
        heard.lock().unwrap().push(line.clone());
        let answer: &[u8] = match line.split(' ').next().unwrap_or_default() {
            "." if in_letter => {
                in_letter = false;
                b"250 taken\r\n"
            }
            _ if in_letter => continue,
            "EHLO" => b"250-sink\r\n250 8BITMIME\r\n",
            "DATA" => {
                in_letter = true;
                b"354 go on\r\n"
            }
            "RCPT" if line.contains("nobody@") => b"550 no such mailbox\r\n",
            _ => b"250 ok\r\n",
        };
        if write.write_all(answer).await.is_err() {
            return;
        }
    }
}

fn leg(address: SocketAddr, tls: SmtpTls, allowed: &str) -> MailLeg {
    let settings = MailSettings {
        host: address.ip().to_string(),
        port: address.port(),
        tls,
        account: None,
        from: "Gateway <gateway@example.com>".parse().unwrap(),
        own_name: "mcp.example.com".into(),
    };
    let allow = allowed.split_whitespace().map(|net| net.parse().unwrap()).collect();
    MailLeg::new(Arc::new(Guard::new(allow)), settings)
}

fn letter(to: &str) -> Letter {
    Letter {
        id: Uuid::from_u128(7),
        to: to.into(),
        subject: "Access of Zoë\r\nBcc: x@example.com to tickets".into(),
        text: "For: Zoë\nReason: on call\n.\nEnd\n".into(),
    }
}

#[tokio::test]
async fn a_letter_is_taken_as_it_is_meant() {
    let sink = Sink::start().await;
    let leg = leg(sink.address, SmtpTls::None, "127.0.0.0/8");
    leg.send(&letter("alice@example.com")).await.unwrap();
    let heard = sink.heard();
    let has = |line: &str| heard.iter().any(|heard| heard == line);
    assert!(has("EHLO mcp.example.com"), "{heard:#?}");
    assert!(heard.iter().any(|line| line.starts_with("MAIL FROM:<gateway@example.com>")));
    assert!(has("RCPT TO:<alice@example.com>") && has("To: alice@example.com"), "{heard:#?}");
    assert!(has("Message-ID: <00000000000000000000000000000007@example.com>"), "{heard:#?}");
    // No header is made of a subject, and no dot ends a letter early.
    assert!(!heard.iter().any(|line| line.starts_with("Bcc:")), "{heard:#?}");
    assert_eq!(heard.iter().filter(|line| line.starts_with("RCPT")).count(), 1);
    assert!(heard.iter().any(|line| line.starts_with("End")), "{heard:#?}");
    let refused = leg.send(&letter("nobody@example.com")).await.unwrap_err();
    assert!(refused.contains("550") || refused.contains("no such mailbox"), "{refused}");
    let refused = leg.send(&letter("not an address")).await.unwrap_err();
    assert!(refused.starts_with("the recipient"), "{refused}");
}

#[tokio::test]
async fn nothing_is_sent_past_the_guard_nor_in_the_open() {
    let sink = Sink::start().await;
    // Loopback is not named; and never, whatever is named.
    let refused = leg(sink.address, SmtpTls::None, "").send(&letter("a@example.com")).await;
    assert!(refused.unwrap_err().contains("egress.allow_cidrs"));
    let metadata = "169.254.169.254:25".parse().unwrap();
    let refused = leg(metadata, SmtpTls::None, "0.0.0.0/0").send(&letter("a@example.com")).await;
    assert!(refused.unwrap_err().contains("never allowed"));
    assert!(sink.heard().is_empty(), "not even a connection: {:?}", sink.heard());
    // TLS was asked for and is not there.
    for tls in [SmtpTls::StartTls, SmtpTls::Tls] {
        let refused = leg(sink.address, tls, "127.0.0.0/8").send(&letter("a@example.com")).await;
        assert!(refused.is_err(), "{tls:?}");
    }
    let heard = sink.heard();
    assert!(!heard.iter().any(|line| line.starts_with("MAIL") || line.contains("Zo")), "{heard:?}");
}
