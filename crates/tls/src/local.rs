//! What this machine is called, and where other devices of the house find it.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use sysinfo::{Networks, System};

use crate::name::Name;

/// Addresses that a certificate of this machine names at most: containers can have hundreds.
const MAX_ADDRESSES: usize = 32;

/// Beginnings of names of interfaces that lead to containers, virtual machines and tunnels, and not to
/// the devices of a house.
const VIRTUAL: [&str; 19] = [
    "awdl",
    "bridge",
    "br-",
    "cali",
    "cni",
    "docker",
    "flannel",
    "llw",
    "lxc",
    "podman",
    "tailscale",
    "tap",
    "tun",
    "utun",
    "vboxnet",
    "veth",
    "virbr",
    "vmnet",
    "wg",
];

/// Names and addresses of this machine: `localhost` and its addresses, the host name, alone and with
/// `.local`, and the private addresses of its interfaces (RFC 1918, RFC 6598 and RFC 4193). Sorted; public
/// addresses are left out because they change and belong to no house, those of a link because no browser
/// takes them.
pub fn local_names() -> Vec<Name> {
    names(System::host_name().as_deref(), &interfaces())
}

/// The address that other devices of the house use: a private one, IPv4 if there is one, and best that of
/// the route to the outside. None if this machine has no private address.
pub fn reachable_address() -> Option<IpAddr> {
    choose(&interfaces(), route())
}

/// This machine's name, as it stands in the name of its authority.
pub(crate) fn host_name() -> String {
    host_names(System::host_name().as_deref())
        .into_iter()
        .next()
        .unwrap_or_else(|| "this machine".to_owned())
}

/// The host name as it is, alone and with `.local`; none if it is no name of the DNS.
pub(crate) fn host_dns_names() -> Vec<String> {
    host_names(System::host_name().as_deref())
}

/// An interface's name, and one of its addresses.
type Address = (String, IpAddr);

fn interfaces() -> Vec<Address> {
    let networks = Networks::new_with_refreshed_list();
    let mut found: Vec<Address> = networks
        .iter()
        .flat_map(|(name, data)| {
            let addresses = data.ip_networks().iter();
            addresses.map(move |network| (name.clone(), network.addr.to_canonical()))
        })
        .collect();
    found.sort();
    found
}

/// The address that packets to the outside would bear. To connect a datagram's socket sends nothing.
fn route() -> Option<IpAddr> {
    // RFC 5737: an address of nobody's, for documentation.
    let outside = SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), 9));
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect(outside).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

fn host_names(host: Option<&str>) -> Vec<String> {
    let Some(Ok(Name::Dns(host))) = host.map(str::parse::<Name>) else {
        return Vec::new();
    };
    // Some systems give the whole name, some the first label, macOS that of the house.
    let label = host.split('.').next().unwrap_or(&host);
    if label == "localhost" {
        return Vec::new();
    }
    let mut names = vec![host.clone(), label.to_owned(), format!("{label}.local")];
    names.retain(|name| name.parse::<Name>().is_ok());
    names.sort_by_key(String::len);
    names.dedup();
    names
}

fn names(host: Option<&str>, interfaces: &[Address]) -> Vec<Name> {
    let mut names: BTreeSet<Name> = host_names(host).into_iter().map(Name::Dns).collect();
    names.insert(Name::Dns("localhost".to_owned()));
    names.insert(Name::Ip(Ipv4Addr::LOCALHOST.into()));
    names.insert(Name::Ip(Ipv6Addr::LOCALHOST.into()));
    // The devices of a house first, if not all can be named.
    let mut addresses: Vec<&Address> = interfaces
        .iter()
        .filter(|(_, address)| is_private(*address))
        .collect();
    addresses.sort_by_key(|(name, _)| is_virtual(name));
    let addresses = addresses.iter().take(MAX_ADDRESSES);
    names.extend(addresses.map(|(_, address)| Name::Ip(*address)));
    names.into_iter().collect()
}

fn choose(interfaces: &[Address], route: Option<IpAddr>) -> Option<IpAddr> {
    interfaces
        .iter()
        .filter(|(_, address)| is_private(*address))
        .min_by_key(|(name, address)| {
            (
                is_virtual(name),
                address.is_ipv6(),
                is_shared(*address),
                Some(*address) != route,
            )
        })
        .map(|(_, address)| *address)
}

/// Whether an address is of a house, and not of the world, of one link or of this machine alone.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_private() || is_shared(address),
        IpAddr::V6(v6) => v6.is_unique_local(),
    }
}

/// RFC 6598: 100.64.0.0/10, which tunnels between a person's devices use.
fn is_shared(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(v4) if v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64)
}

fn is_virtual(interface: &str) -> bool {
    VIRTUAL.iter().any(|start| interface.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(list: &[(&str, &str)]) -> Vec<Address> {
        list.iter()
            .map(|(name, address)| ((*name).to_owned(), address.parse().unwrap()))
            .collect()
    }

    fn house() -> Vec<Address> {
        addresses(&[
            ("docker0", "172.17.0.1"),
            ("eth0", "203.0.113.7"),
            ("eth0", "2001:db8::7"),
            ("eth0", "fd12::7"),
            ("eth0", "fe80::7"),
            ("lo", "127.0.0.1"),
            ("lo", "::1"),
            ("tailscale0", "100.100.1.2"),
            ("usb0", "169.254.3.4"),
            ("wlan0", "10.0.0.5"),
            ("wlan1", "192.168.1.7"),
        ])
    }

    fn shown(names: &[Name]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn names_are_those_of_a_house() {
        assert_eq!(
            shown(&names(Some("Box.example.org"), &house())),
            [
                "box",
                "box.example.org",
                "box.local",
                "localhost",
                "10.0.0.5",
                "100.100.1.2",
                "127.0.0.1",
                "172.17.0.1",
                "192.168.1.7",
                "::1",
                "fd12::7",
            ]
        );
        for host in [
            None,
            Some("localhost"),
            Some("a_b"),
            Some("42"),
            Some(""),
            Some("é"),
        ] {
            assert_eq!(
                shown(&names(host, &[])),
                ["localhost", "127.0.0.1", "::1"],
                "{host:?}"
            );
        }
        assert_eq!(host_names(Some("box.local")), ["box", "box.local"]);
        assert_eq!(
            host_names(Some("42.example.org")),
            ["42.local", "42.example.org"]
        );
    }

    #[test]
    fn hundreds_of_containers_do_not_push_the_house_out() {
        let mut many = addresses(&[("wlan0", "192.168.1.7")]);
        for at in 0..=255 {
            many.insert(0, ("veth".to_owned(), Ipv4Addr::new(10, 1, 0, at).into()));
        }
        let names = names(None, &many);
        assert_eq!(names.len(), 3 + MAX_ADDRESSES);
        assert!(names.contains(&"192.168.1.7".parse().unwrap()));
    }

    #[test]
    fn the_address_is_that_of_the_route_of_the_house() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let mut house = house();
        assert_eq!(
            choose(&house, Some(ip("192.168.1.7"))),
            Some(ip("192.168.1.7"))
        );
        assert_eq!(
            choose(&house, Some(ip("100.100.1.2"))),
            Some(ip("10.0.0.5")),
            "a tunnel"
        );
        assert_eq!(choose(&house, None), Some(ip("10.0.0.5")));
        house.retain(|(name, _)| !name.starts_with("wlan"));
        assert_eq!(choose(&house, None), Some(ip("fd12::7")));
        house.retain(|(name, _)| name != "eth0");
        assert_eq!(choose(&house, None), Some(ip("172.17.0.1")));
        assert_eq!(
            choose(
                &addresses(&[("eth0", "203.0.113.7")]),
                Some(ip("203.0.113.7"))
            ),
            None
        );
    }

    #[test]
    fn this_machine_has_names() {
        let names = local_names();
        assert!(names.contains(&Name::Dns("localhost".to_owned())));
        assert!(names.is_sorted());
        if let Some(address) = reachable_address() {
            assert!(names.contains(&Name::Ip(address)));
        }
    }
}
