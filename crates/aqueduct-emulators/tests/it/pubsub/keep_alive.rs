use std::time::Duration;

use aqueduct_emulators::PubSubOptions;
use futures::FutureExt as _;
use googleapis_tonic_google_pubsub_v1::google::pubsub::v1::{
    StreamingPullRequest, StreamingPullResponse,
};
use tonic::Streaming;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Endpoint;
use tonic_prost::ProstCodec;

use super::place::{Place, SUBSCRIPTION, run};

/// Opens a stream as a client of a protocol version does, with a plain gRPC client.
async fn open(place: &Place, protocol_version: i64) -> Streaming<StreamingPullResponse> {
    let channel = Endpoint::new(place.pubsub.endpoint())
        .unwrap()
        .connect()
        .await;
    let mut client = Grpc::new(channel.unwrap());
    client.ready().await.unwrap();
    let first = StreamingPullRequest {
        subscription: SUBSCRIPTION.to_owned(),
        stream_ack_deadline_seconds: 10,
        protocol_version,
        ..StreamingPullRequest::default()
    };
    // The client's side stays open.
    let requests = futures::stream::iter([first]);
    let requests = futures::StreamExt::chain(requests, futures::stream::pending());
    let path = PathAndQuery::from_static("/google.pubsub.v1.Subscriber/StreamingPull");
    let codec = ProstCodec::<StreamingPullRequest, StreamingPullResponse>::default();
    let request = tonic::Request::new(requests);
    client
        .streaming(request, path, codec)
        .await
        .unwrap()
        .into_inner()
}

#[test]
fn a_client_of_the_protocol_version_is_kept_alive_and_an_older_one_is_not() {
    run(async {
        let options = PubSubOptions::new().with_keep_alive(Duration::from_millis(20));
        let place = Place::with(options).await;
        place.subscription(|it| it).await;
        let mut older = open(&place, 0).await;
        let mut newer = open(&place, 1).await;
        for stream in [&mut older, &mut newer] {
            let first = stream.message().await.unwrap().unwrap();
            assert!(first.subscription_properties.is_some());
        }
        for _ in 0..5 {
            let response = newer.message().await.unwrap().unwrap();
            assert_eq!(response.received_messages, []);
        }
        assert!(
            older.message().now_or_never().is_none(),
            "nothing was sent to it"
        );
    });
}
