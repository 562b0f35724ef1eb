//! Letters to the configured mail server. The connection is opened like any other of the gateway's: the name
//! is resolved here and every address is asked of the guard; only then does SMTP begin on it.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use gateway_governance::{Letter, Mail};
use http::Uri;
use lettre::Message;
use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, AsyncTokioStream, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use secrecy::{ExposeSecret, SecretString};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::address::Guard;
use super::connect::{Guarded, Resolve, SystemResolver};
use super::leg::public_authorities;
use crate::config::SmtpTls;

/// How long resolving and connecting may take.
const CONNECT: Duration = Duration::from_secs(5);

/// What the mail server is told and asked.
#[derive(Debug, Clone)]
pub struct MailSettings {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is kept private.
    pub tls: SmtpTls,
    /// As whom to sign in, and the password.
    pub account: Option<(String, SecretString)>,
    /// The sender.
    pub from: Mailbox,
    /// How the gateway calls itself.
    pub own_name: String,
}

/// The way to a mail server; a connection each letter.
pub struct MailLeg {
    settings: MailSettings,
    connector: Guarded,
    tls: Arc<ClientConfig>,
}

impl MailLeg {
    /// One that resolves names as the operating system does and trusts the public certificate authorities.
    pub fn new(guard: Arc<Guard>, settings: MailSettings) -> MailLeg {
        MailLeg::with(guard, settings, Arc::new(SystemResolver), public_authorities())
    }

    /// One with another resolver, and other TLS settings for TLS from the first byte.
    pub fn with(
        guard: Arc<Guard>,
        settings: MailSettings,
        resolver: Arc<dyn Resolve>,
        tls: ClientConfig,
    ) -> MailLeg {
        let connector = Guarded::new(guard, resolver, CONNECT);
        MailLeg { settings, connector, tls: Arc::new(tls) }
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, String> {
        let MailSettings { host, port, tls, own_name, .. } = &self.settings;
        let uri: Uri =
            format!("smtp://{host}:{port}").parse().map_err(|e| format!("{host}: {e}"))?;
        let socket = self.connector.connect(&uri).await.map_err(|e| e.to_string())?;
        let stream: Box<dyn AsyncTokioStream> = match tls {
            SmtpTls::Tls => Box::new(self.secure(socket).await?),
            SmtpTls::StartTls | SmtpTls::None => Box::new(socket),
        };
        let name = ClientId::Domain(own_name.clone());
        let connected = AsyncSmtpConnection::connect_with_transport(stream, &name).await;
        let mut connection = connected.map_err(|e| format!("greeting {host}: {}", told(&e)))?;
        if *tls == SmtpTls::StartTls {
            let parameters = TlsParameters::new_rustls(host.clone()).map_err(|e| told(&e))?;
            let started = connection.starttls(parameters, &name).await;
            started.map_err(|e| format!("STARTTLS at {host}: {}", told(&e)))?;
        }
        Ok(connection)
    }

    async fn secure(&self, socket: TcpStream) -> Result<Secured, String> {
        let host = &self.settings.host;
        let name = ServerName::try_from(host.clone()).map_err(|e| format!("{host}: {e}"))?;
        let secured = TlsConnector::from(Arc::clone(&self.tls)).connect(name, socket).await;
        secured.map(Secured).map_err(|e| format!("TLS with {host}: {e}"))
    }

    fn message(&self, letter: &Letter) -> Result<Message, String> {
        let to: Mailbox = letter.to.parse().map_err(|e| format!("the recipient: {e}"))?;
        let id = format!("<{}@{}>", letter.id.simple(), self.settings.from.email.domain());
        let message = Message::builder()
            .from(self.settings.from.clone())
            .to(to)
            .message_id(Some(id))
            .subject(letter.subject.clone())
            .header(ContentType::TEXT_PLAIN)
            .body(letter.text.clone());
        message.map_err(|e| e.to_string())
    }
}

#[async_trait]
impl Mail for MailLeg {
    async fn send(&self, letter: &Letter) -> Result<(), String> {
        let message = self.message(letter)?;
        let mut connection = self.connect().await?;
        if let Some((user, password)) = &self.settings.account {
            // Exposed to sign in at the mail server, over TLS only.
            let account = Credentials::new(user.clone(), password.expose_secret().to_owned());
            let mechanisms = [Mechanism::Plain, Mechanism::Login];
            let signed_in = connection.auth(&mechanisms, &account).await;
            signed_in.map_err(|e| format!("signing in: {}", told(&e)))?;
        }
        let sent = connection.send(message.envelope(), &message.formatted()).await;
        sent.map_err(|e| format!("sending: {}", told(&e)))?;
        // It was taken; how the server says goodbye changes nothing.
        let _ = connection.quit().await;
        Ok(())
    }
}

/// With its causes, in one line.
fn told(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    let all = std::iter::once(error.to_string()).chain(causes.map(ToString::to_string));
    all.collect::<Vec<_>>().join(": ")
}

/// TLS over a socket, as lettre takes a stream.
#[derive(Debug)]
struct Secured(TlsStream<TcpStream>);

impl AsyncTokioStream for Secured {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.0.get_ref().0.peer_addr()
    }
}

impl AsyncRead for Secured {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Secured {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
