use std::convert::Infallible;
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::service::Service;
use super::wire::{Connections, Socket};
use super::{grpc, rest};

/// Serves on a port of the loopback interface until `stop` is dropped; returns the port.
pub(super) async fn listen(
    service: Arc<Service>,
    connections: Arc<Connections>,
    stop: watch::Receiver<()>,
) -> io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, service.options.port)).await?;
    let port = listener.local_addr()?.port();
    let timer = Arc::clone(&service);
    let mut stopped = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            () = timer.run_timer() => {}
            _ = stopped.changed() => {}
        }
    });
    let router = grpc::router(&service).merge(rest::router(&service));
    tokio::spawn(accept(listener, router, connections, stop));
    Ok(port)
}

async fn accept(
    listener: TcpListener,
    router: Router,
    connections: Arc<Connections>,
    mut stop: watch::Receiver<()>,
) {
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                // Out of file handles, for example: the next attempt may succeed.
                Err(_) => {
                    tokio::task::yield_now().await;
                    continue;
                }
            },
            _ = stop.changed() => return,
        };
        tokio::spawn(serve(
            stream,
            router.clone(),
            Arc::clone(&connections),
            stop.clone(),
        ));
    }
}

async fn serve(
    stream: TcpStream,
    router: Router,
    connections: Arc<Connections>,
    mut stop: watch::Receiver<()>,
) {
    // Small responses must not wait for the acknowledgement of earlier ones.
    drop(stream.set_nodelay(true));
    let connection = connections.add();
    let socket = TokioIo::new(Socket::new(stream, connection.clone()));
    let identity = connection.clone();
    let service = tower::service_fn(move |mut request: axum::http::Request<_>| {
        request.extensions_mut().insert(identity.clone());
        let mut router = router.clone();
        async move {
            let response = tower::Service::call(&mut router, request).await;
            response.map_err(|never: Infallible| match never {})
        }
    });
    let builder = Builder::new(TokioExecutor::new());
    let serving = builder.serve_connection(socket, TowerToHyperService::new(service));
    tokio::select! {
        // An error ends the connection only, as its client knows.
        served = serving => drop(served),
        () = connection.until_reset() => {}
        _ = stop.changed() => {}
    }
}
