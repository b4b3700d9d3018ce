//! Connections made with sockets out of a pod's stock.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use tokio::net::TcpStream;
use tunnel_sockets::Begun;

/// Connects; who waits for it bounds the time.
pub(crate) async fn connect(socket: OwnedFd, to: SocketAddr) -> io::Result<TcpStream> {
    let begun = tunnel_sockets::connect(&socket, to)?;
    let stream = TcpStream::from_std(socket.into())?;
    if begun == Begun::UnderWay {
        stream.writable().await?;
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
    }
    Ok(stream)
}
