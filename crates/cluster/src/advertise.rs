//! Under which address this server is published to other machines and to pods.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use registry::PublishedServer;

/// Returns how the server that listens on `address` is published: under that address, or, as
/// upstream, under the one from which this machine reaches others when it is a loopback address or
/// none in particular. Its identity stays the same when the server starts again.
pub(crate) fn published(address: SocketAddr) -> PublishedServer {
    let ip = address.ip();
    let advertised = if ip.is_loopback() || ip.is_unspecified() {
        own_address(ip.is_ipv6()).unwrap_or(ip)
    } else {
        ip
    };
    let text = advertised.to_string().replace(['.', ':'], "-");
    let name = text.trim_matches('-');
    PublishedServer {
        identity: format!("apiserver-{name}-{}", address.port()),
        address: advertised,
        port: address.port(),
    }
}

/// Returns the address of the interface that the default route uses; `None` without such a route.
fn own_address(is_v6: bool) -> Option<IpAddr> {
    // Addresses for documentation (RFC 5737, RFC 3849). Connecting a UDP socket sends nothing.
    let (any, other): (IpAddr, IpAddr) = if is_v6 {
        let other = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
        (Ipv6Addr::UNSPECIFIED.into(), other.into())
    } else {
        let other = Ipv4Addr::new(192, 0, 2, 1);
        (Ipv4Addr::UNSPECIFIED.into(), other.into())
    };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).ok()?;
    socket.connect(SocketAddr::new(other, 9)).ok()?;
    let own = socket.local_addr().ok()?.ip();
    (!own.is_loopback() && !own.is_unspecified()).then_some(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_its_own_is_published_as_it_is() {
        let cases = [
            ("192.0.2.7:6443", "192.0.2.7", "apiserver-192-0-2-7-6443"),
            (
                "[2001:db8::7]:443",
                "2001:db8::7",
                "apiserver-2001-db8--7-443",
            ),
        ];
        for (listening, address, identity) in cases {
            let published = published(listening.parse().expect("an address"));
            assert_eq!(published.address.to_string(), address);
            assert_eq!(published.identity, identity);
        }
    }
}
