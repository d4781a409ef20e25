//! A server that does with its sockets what it is told, request by request, and keeps what came.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// What becomes of a request.
#[derive(Clone)]
pub(crate) enum Act {
    /// These bytes; the connection stays open.
    Send(Vec<u8>),
    /// These bytes, then the end of the connection, orderly.
    SendAndClose(Vec<u8>),
    /// These bytes, then the end of the connection by RST.
    SendAndReset(Vec<u8>),
    /// These bytes, then one space after each pause, without end.
    Trickle(Vec<u8>, Duration),
    /// These bytes, then others again and again as fast as they are taken, without end.
    Flood(Vec<u8>, Vec<u8>),
    /// Nothing, and the connection stays open.
    Hang,
}

/// A JSON answer.
pub(crate) fn json(status: u16, body: &Value) -> Vec<u8> {
    answer(status, "content-type: application/json\r\n", body.to_string().as_bytes())
}

/// An answer with headers and a body.
pub(crate) fn answer(status: u16, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status} X\r\n{headers}content-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    /// Counts connections from 1.
    pub(crate) connection: u64,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
}

/// A running server; it stops when dropped.
pub(crate) struct Script {
    pub(crate) url: String,
    received: Arc<Mutex<Vec<Received>>>,
    connections: Arc<Mutex<u64>>,
    task: JoinHandle<()>,
}

impl Drop for Script {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Script {
    /// Does the first act for the first request, and so on; the last one for all that follow.
    pub(crate) async fn start(acts: Vec<Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (received, connections): (Arc<Mutex<Vec<_>>>, Arc<Mutex<u64>>) = Default::default();
        let task = tokio::spawn({
            let (received, connections) = (received.clone(), connections.clone());
            async move {
                loop {
                    let Ok((stream, _)) = listener.accept().await else { return };
                    let connection = {
                        let mut connections = connections.lock().unwrap();
                        *connections += 1;
                        *connections
                    };
                    tokio::spawn(serve(stream, connection, acts.clone(), received.clone()));
                }
            }
        });
        Self { url, received, connections, task }
    }

    /// The requests that came whole, oldest first.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// How many requests of a method came.
    pub(crate) fn count(&self, method: &str) -> usize {
        self.received().iter().filter(|request| request.method == method).count()
    }

    /// How many connections were made.
    pub(crate) fn connections(&self) -> u64 {
        *self.connections.lock().unwrap()
    }
}

async fn serve(mut stream: TcpStream, connection: u64, acts: Vec<Act>, received: Arc<Mutex<Vec<Received>>>) {
    while let Some(request) = read(&mut stream, connection).await {
        let act = {
            let mut received = received.lock().unwrap();
            received.push(request);
            acts[(received.len() - 1).min(acts.len() - 1)].clone()
        };
        // The other end may be gone already: that is its business.
        let _ = match act {
            Act::Send(bytes) => {
                if stream.write_all(&bytes).await.is_err() {
                    return;
                }
                continue;
            }
            Act::SendAndClose(bytes) => stream.write_all(&bytes).await,
            Act::SendAndReset(bytes) => {
                let written = stream.write_all(&bytes).await;
                written.and(stream.set_zero_linger())
            }
            Act::Trickle(head, pause) => {
                let mut written = stream.write_all(&head).await;
                while written.is_ok() {
                    sleep(pause).await;
                    written = stream.write_all(b" ").await;
                }
                written
            }
            Act::Flood(head, wave) => {
                let mut written = stream.write_all(&head).await;
                while written.is_ok() {
                    written = stream.write_all(&wave).await;
                }
                written
            }
            Act::Hang => {
                // Ends when the client does.
                let mut rest = Vec::new();
                stream.read_to_end(&mut rest).await.map(drop)
            }
        };
        return;
    }
}

/// Reads one request with its body; nothing where the connection ends before.
async fn read(stream: &mut TcpStream, connection: u64) -> Option<Received> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?);
    let headers: HashMap<_, _> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = bytes.split_off(end + 4);
    while body.len() < length {
        if stream.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    Some(Received { connection, method, path: path.to_owned(), query: query.to_owned(), headers, body })
}
