//! Where a process listens when nobody says where.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// All addresses of this machine: of IPv6, and of IPv4 at the same socket, where the machine speaks IPv6; else of IPv4.
pub fn everywhere(port: u16) -> SocketAddr {
    // Also where IPv6 is compiled in, but no interface has an address of it, such a socket takes IPv4.
    if UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).is_ok() {
        (Ipv6Addr::UNSPECIFIED, port).into()
    } else {
        (Ipv4Addr::UNSPECIFIED, port).into()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn who_comes_by_ipv4_is_heard_and_by_ipv6_where_the_machine_speaks_it() {
        let listener = TcpListener::bind(everywhere(0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("by IPv4");
        if UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
            TcpStream::connect((Ipv6Addr::LOCALHOST, port)).expect("by IPv6");
        }
    }
}
