//! Listening sockets: one for each thread, all on one address.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

const BACKLOG: i32 = 4096;

/// So many sockets on one address. They hand connections out among each other.
///
/// # Errors
/// When the address is taken, or cannot be had; the error says which address.
pub(crate) fn listen(address: SocketAddr, count: usize) -> io::Result<(SocketAddr, Vec<TcpListener>)> {
    try_listen(address, count).map_err(|reason| explain(address, &reason))
}

fn try_listen(address: SocketAddr, count: usize) -> io::Result<(SocketAddr, Vec<TcpListener>)> {
    // Sockets that share an address would share it with another program's, too, which then silently
    // takes half of the requests: ask without sharing first.
    if address.port() != 0 {
        socket(address)?.bind(&address.into())?;
    }
    let first = shared(address)?;
    let bound = first.local_addr()?;
    let mut listeners = vec![first];
    for _ in 1..count.max(1) {
        listeners.push(shared(bound)?);
    }
    Ok((bound, listeners))
}

fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    Ok(socket)
}

fn shared(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket(address)?;
    socket.set_reuse_port(true)?;
    // Accepted connections inherit these.
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&keepalive())?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Finds out about ends that vanished without a word within two minutes.
pub(crate) fn keepalive() -> TcpKeepalive {
    TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(15)).with_retries(4)
}

fn explain(address: SocketAddr, reason: &io::Error) -> io::Error {
    let sentence = match reason.kind() {
        io::ErrorKind::AddrInUse => format!(
            "port {} of {} is taken by another program: stop that program or choose another port",
            address.port(),
            address.ip()
        ),
        io::ErrorKind::PermissionDenied => {
            format!("this user may not listen on port {}: choose a port from 1024 up", address.port())
        }
        _ => format!("cannot listen on {address}: {reason}"),
    };
    io::Error::new(reason.kind(), sentence)
}
