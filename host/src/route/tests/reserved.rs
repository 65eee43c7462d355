//! What a plugin may not say.

use super::*;

#[tokio::test]
async fn what_only_the_mesh_may_say_is_taken_out_of_answers() {
    let (router, _endpoint, _directory) = demo(1000, |_, mut reply| async move {
        let forge = |headers: &mut http::HeaderMap| {
            for name in ["plugmesh-caller", "plugmesh-caller", "plugmesh-x-bin", "x"] {
                headers.append(name, "forged".parse().unwrap());
            }
        };
        let (mut head, mut trailers) = (head(), ok());
        forge(head.headers_mut());
        forge(&mut trailers);
        reply.send_response(head, false).unwrap().send_trailers(trailers).unwrap();
    })
    .await;
    let answer = call(&router, request(body(vec![message(100)], false))).await.unwrap();
    let reserved = |headers: &http::HeaderMap| {
        assert!(headers.contains_key("x"));
        headers.keys().filter(|name| name.as_str().starts_with("plugmesh-")).count()
    };
    assert_eq!(reserved(answer.headers()), 0);
    let collected = answer.into_body().collect().await.unwrap();
    assert_eq!(reserved(collected.trailers().unwrap()), 0);
}
