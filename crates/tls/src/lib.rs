//! Certificates of a server at home: from files of one's own, or from an authority that this machine
//! keeps and that the devices of the house trust once.
//!
//! ```text
//! --tls-cert, --tls-key ──from_files────────────────────────────┐
//!                                                               ├──▶ rustls::ServerConfig
//! a folder ──LocalAuthority──▶ ca.pem, ca-key.pem               │
//!                  └──server_config(names)──▶ server.pem ───────┘
//!
//! interfaces ──local_names, reachable_address──▶ names of the certificate, the address in a QR code
//! ```
//!
//! The authority signs for names of a house alone (see [`LocalAuthority`]): whoever steals its key can
//! not pass for a bank.

mod authority;
mod config;
mod der;
mod error;
mod files;
mod local;
mod name;
mod pem;
mod qr;
mod store;
mod trust;

pub use authority::LocalAuthority;
pub use error::TlsError;
pub use files::from_files;
pub use local::{local_names, reachable_address};
pub use name::{Name, NameError};
pub use qr::{qr_svg, qr_terminal};
