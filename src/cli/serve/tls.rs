//! Encrypted connections: certificates from files, or from an authority of this machine's own.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use matou_server::{Encryption, Reach};
use matou_tls::{LocalAuthority, Name};
use tracing::{info, warn};

use super::args::ServeArgs;
use super::data::DataFolder;

/// How often the certificate is looked at: it is made anew long before it ends.
const DAILY: Duration = Duration::from_secs(24 * 60 * 60);

/// Where certificates come from.
#[derive(Clone)]
pub(super) struct Certificates {
    args: ServeArgs,
    folder: DataFolder,
}

impl Certificates {
    /// None where connections are not encrypted.
    pub(super) fn of(args: &ServeArgs, folder: &DataFolder) -> Option<Self> {
        let is_encrypted = args.tls_self_signed || args.tls_cert.is_some();
        is_encrypted.then(|| Self {
            args: args.clone(),
            folder: folder.clone(),
        })
    }

    /// The encryption of a server, and the authority behind it if it is this machine's own.
    ///
    /// # Errors
    ///
    /// When there is no certificate to be had.
    pub(super) fn encryption(&self) -> Result<(Encryption, Option<LocalAuthority>)> {
        if let (Some(certificate), Some(key)) = (&self.args.tls_cert, &self.args.tls_key) {
            let config = matou_tls::from_files(certificate, key)?;
            return Ok((Encryption::new(config), None));
        }
        let (now, folder) = (SystemTime::now(), self.folder.tls()?);
        let authority = LocalAuthority::open_or_create(&folder, now)
            .context("cannot make a certificate (--tls-self-signed)")?;
        // A machine that was given another name may have one that the authority does not sign for.
        let mut names = matou_tls::local_names();
        names.retain(|name| authority.permits(name));
        for host in self.args.allowed_hosts.iter().filter(|host| *host != "*") {
            names.push(host.parse()?);
        }
        if !self.args.host.is_unspecified() {
            names.push(Name::Ip(self.args.host));
        }
        let config = authority.server_config(&names, now)?;
        Ok((Encryption::new(config), Some(authority)))
    }

    /// Shows what certificate there is now, once a day and with the server's configuration.
    pub(super) fn renew(&self, encryption: &Encryption) {
        match self.encryption() {
            Ok((new, _)) => encryption.take_over(&new),
            Err(error) => warn!("the certificate stays as it is: {error:#}"),
        }
    }

    /// Renews the certificate for as long as it is let run.
    pub(super) async fn keep_fresh(self, encryption: Encryption) {
        loop {
            tokio::time::sleep(DAILY).await;
            let (certificates, encryption) = (self.clone(), encryption.clone());
            let renewed = tokio::task::spawn_blocking(move || certificates.renew(&encryption));
            match renewed.await {
                Ok(()) => info!("the certificate was looked at"),
                Err(error) => warn!("the certificate stays as it is: {error}"),
            }
        }
    }
}

/// How connections of a server are encrypted, and by which addresses it is reached.
pub(super) struct Secured {
    certificates: Option<Certificates>,
    pub(super) encryption: Option<Encryption>,
    /// The authority behind the certificate, if it is this machine's own.
    pub(super) authority: Option<LocalAuthority>,
    pub(super) reach: Reach,
    /// The address for browsers of this machine.
    pub(super) url: String,
}

impl Secured {
    /// Of a server that listens on `address`.
    ///
    /// # Errors
    ///
    /// When there is no certificate to be had.
    pub(super) fn of(args: &ServeArgs, folder: &DataFolder, address: SocketAddr) -> Result<Self> {
        let certificates = Certificates::of(args, folder);
        let made = certificates.as_ref().map(Certificates::encryption);
        let (encryption, authority) = made.transpose()?.unzip();
        let authority = authority.flatten();
        let is_secure = encryption.is_some();
        let host = match address.ip() {
            ip if ip.is_loopback() => None,
            ip if ip.is_unspecified() => reachable(ip),
            ip => Some(ip),
        };
        let pem = authority.as_ref().map(LocalAuthority::certificate);
        let reach = Reach {
            is_secure,
            elsewhere: host.map(|host| url(is_secure, SocketAddr::new(host, address.port()))),
            authority: pem.map(str::to_owned),
        };
        Ok(Self {
            url: local_url(address, is_secure),
            certificates,
            encryption,
            authority,
            reach,
        })
    }

    /// What has to be renewed, and how, if anything.
    pub(super) fn renewed(&self) -> Option<(Certificates, Encryption)> {
        self.certificates.clone().zip(self.encryption.clone())
    }
}

/// The address by which other devices reach a server that listens on all of this machine's: of IPv4 alone,
/// or of both.
fn reachable(all: IpAddr) -> Option<IpAddr> {
    let is_heard = |ip: &IpAddr| ip.is_ipv4() || all.is_ipv6();
    let others = matou_tls::local_names().into_iter();
    let mut others = others.filter_map(|name| match name {
        Name::Ip(ip) if !ip.is_loopback() => Some(ip),
        _ => None,
    });
    let best = matou_tls::reachable_address().filter(is_heard);
    best.or_else(|| others.find(is_heard))
}

/// The address of a server for browsers of this machine.
fn local_url(address: SocketAddr, is_secure: bool) -> String {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
        ip => ip,
    };
    url(is_secure, SocketAddr::new(ip, address.port()))
}

fn url(is_secure: bool, address: SocketAddr) -> String {
    match is_secure {
        true => format!("https://{address}"),
        false => format!("http://{address}"),
    }
}
