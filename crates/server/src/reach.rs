//! By which addresses the server can be reached.

/// By which addresses the server can be reached.
#[derive(Debug, Clone, Default)]
pub struct Reach {
    /// Whether connections are encrypted up to here.
    pub is_secure: bool,
    /// The address by which other machines reach it, such as `https://192.168.1.5:8080`; none if only
    /// this machine can.
    pub elsewhere: Option<String>,
    /// The certificate of the authority that browsers have to trust, in PEM, if it is one of this
    /// machine's own.
    pub authority: Option<String>,
}

impl Reach {
    /// The address to open the page by elsewhere: that by which it was asked for, unless only this
    /// machine is called so. `is_secure` says whether the browser's connection is.
    pub(crate) fn url(&self, host: Option<&str>, is_secure: bool) -> Option<String> {
        let name = |host: &str| {
            let uri: axum::http::uri::Authority = host.parse().ok()?;
            Some(uri.host().trim_matches(['[', ']']).to_ascii_lowercase())
        };
        let is_here = |name: &str| {
            let address = name.parse::<std::net::IpAddr>();
            name == "localhost" || address.is_ok_and(|address| address.is_loopback())
        };
        let asked = host.filter(|host| name(host).is_some_and(|name| !is_here(&name)));
        match asked {
            Some(host) => {
                let scheme = match is_secure {
                    true => "https",
                    false => "http",
                };
                Some(format!("{scheme}://{host}"))
            }
            None => self.elsewhere.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_taken_along_by_the_name_it_was_opened_by() {
        let reach = Reach {
            is_secure: true,
            elsewhere: Some("https://192.168.1.5:8080".to_owned()),
            authority: None,
        };
        let url = |host| reach.url(host, true);
        assert_eq!(url(Some("box.lan:1")).as_deref(), Some("https://box.lan:1"));
        for here in [
            None,
            Some("localhost:1"),
            Some("127.0.0.1:1"),
            Some("[::1]:1"),
        ] {
            assert_eq!(url(here), reach.elsewhere, "{here:?}");
        }
        assert_eq!(Reach::default().url(Some("localhost"), false), None);
    }
}
