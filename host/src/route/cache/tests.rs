use http::Request;
use http::request::Parts;
use http_body_util::BodyExt;
use proptest::prelude::*;

use super::*;

const MAX: u64 = 64 << 10;
const TTL: Duration = Duration::from_secs(10);

fn head(headers: &[(&str, &str)]) -> Parts {
    let mut request = Request::post("http://host/a.B/C");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn key(cache: &AnswerCache, headers: &[(&str, &str)], message: &[u8]) -> Arc<Key> {
    Arc::new(Key::new(cache, &head(headers), message))
}

fn answer(data: &[u8]) -> KeptAnswer {
    KeptAnswer::new(&HeaderMap::new(), &Bytes::copy_from_slice(data), &HeaderMap::new())
}

fn at(seconds: u64) -> Moment {
    Moment::default() + Duration::from_secs(seconds)
}

fn data(found: Option<(Arc<KeptAnswer>, Duration)>) -> Option<Bytes> {
    found.map(|(answer, _)| answer.data.clone())
}

#[test]
fn what_may_change_the_answer_is_part_of_the_key() {
    let cache = AnswerCache::new(MAX);
    let own = [("plugmesh-caller", "a"), ("x", "1"), ("x", "2"), ("content-type", "application/grpc")];
    let same = |headers: &[(&str, &str)], message: &[u8]| {
        let (one, other) = (key(&cache, &own, b"m"), key(&cache, headers, message));
        let is_same = one == other;
        assert_eq!(is_same, one.hash == other.hash);
        is_same
    };
    assert!(same(&own, b"m"));
    let mut traced = own.to_vec();
    for name in ["te", "user-agent", "grpc-timeout", "grpc-previous-rpc-attempts", "traceparent", "baggage"] {
        traced.push((name, "other"));
    }
    assert!(same(&traced, b"m"));
    // The order of names is nobody's, that of values is theirs.
    assert!(same(&[("content-type", "application/grpc+proto"), own[1], own[2], own[0]], b"m"));
    assert!(!same(&[own[0], own[2], own[1]], b"m"));
    assert!(!same(&own, b"n"));
    assert!(!same(&[("plugmesh-caller", "b"), own[1], own[2]], b"m"));
    assert!(!same(&own[1..], b"m"));
    for (name, value) in [
        ("authorization", "x"),
        ("grpc-encoding", "gzip"),
        ("grpc-accept-encoding", "gzip"),
        ("content-type", "application/grpc+json"),
        ("accept-language", "de"),
    ] {
        assert!(!same(&[own[0], own[1], own[2], (name, value)], b"m"), "{name}");
    }
}

#[test]
fn parts_of_a_key_do_not_run_into_each_other() {
    let cache = AnswerCache::new(MAX);
    assert!(key(&cache, &[("ab", "c")], b"") != key(&cache, &[("a", "bc")], b""));
    assert!(key(&cache, &[("a", "b"), ("c", "d")], b"") != key(&cache, &[("a", "bcd")], b""));
}

#[test]
fn what_is_too_old_is_never_given() {
    let cache = AnswerCache::new(MAX);
    let key = key(&cache, &[], b"m");
    cache.put(key.clone(), answer(b"1"), TTL, at(100));
    let (_, age) = cache.get(&key, at(109)).unwrap();
    assert_eq!(age, Duration::from_secs(9));
    assert_eq!(data(cache.get(&key, at(110))), None);
    assert_eq!(cache.used(), (0, 0), "nor kept");
}

#[test]
fn a_newer_answer_takes_the_place_of_the_one_before() {
    let cache = AnswerCache::new(MAX);
    let key = key(&cache, &[], b"m");
    cache.put(key.clone(), answer(b"1"), TTL, at(100));
    cache.put(key.clone(), answer(b"22"), TTL, at(105));
    assert_eq!(data(cache.get(&key, at(112))).unwrap(), "22");
    assert_eq!(cache.used().1, 1);
    cache.put(key.clone(), answer(&[0; MAX as usize]), TTL, at(106));
    assert_eq!(
        data(cache.get(&key, at(106))),
        None,
        "the newest is too large, and the other is not the newest"
    );
    assert_eq!(cache.used(), (0, 0));
}

#[test]
fn the_least_recently_used_goes_first() {
    let cache = AnswerCache::new(MAX);
    let number = |n: u32| key(&cache, &[], &n.to_be_bytes());
    for n in 0..1000 {
        cache.put(number(n), answer(b"1"), TTL, at(1));
        assert!(cache.get(&number(0), at(1)).is_some(), "it is used all the time");
        assert!(cache.used().0 <= MAX);
    }
    let kept: Vec<_> = (0..1000).filter(|n| cache.get(&number(*n), at(1)).is_some()).collect();
    assert_eq!(kept.len(), cache.used().1);
    assert!(kept.len() > 40, "{}", kept.len());
    let newest = 1000 - (kept.len() as u32 - 1);
    assert_eq!(kept[1..], (newest..1000).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_answer_is_given_whole_and_says_how_old_it_is() {
    let head = |name: &'static str| {
        let mut headers = HeaderMap::new();
        headers.append(name, "1".parse().unwrap());
        headers.append(name, "2".parse().unwrap());
        headers.append("age", "77".parse().unwrap());
        headers
    };
    let kept = KeptAnswer::new(&head("x"), &Bytes::from_static(b"data"), &head("y"));
    let response = kept.respond(Duration::from_millis(3999));
    assert_eq!(response.headers()["age"], "3", "its own age, in whole seconds");
    assert_eq!(response.headers()["plugmesh-cache"], "stale");
    assert_eq!(response.headers().get_all("x").iter().count(), 2);
    let body = response.into_body().collect().await.unwrap();
    assert_eq!(body.trailers().unwrap().get_all("y").iter().count(), 2);
    assert_eq!(body.to_bytes(), "data");
}

proptest! {
    /// Beside a list that is searched.
    #[test]
    fn it_never_gives_what_a_plain_list_would_not(
        steps in proptest::collection::vec((0..40u8, 0..3000usize, 0..4u64, any::<bool>()), 1..300)
    ) {
        let cache = AnswerCache::new(MAX);
        let mut now = 0;
        let mut newest = HashMap::new();
        for (n, length, pause, puts) in steps {
            now += pause;
            let key = key(&cache, &[], &[n]);
            if puts {
                let bytes = vec![n; length];
                cache.put(key, answer(&bytes), TTL, at(now));
                newest.insert(n, (now, bytes));
            } else if let Some((found, age)) = cache.get(&key, at(now)) {
                let (since, bytes) = &newest[&n];
                prop_assert_eq!(&found.data, bytes);
                prop_assert_eq!(age.as_secs(), now - since);
                prop_assert!(age < TTL);
            }
            prop_assert!(cache.used().0 <= MAX);
        }
    }
}
