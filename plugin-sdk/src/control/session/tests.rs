use super::*;

const LEASE: Duration = Duration::from_secs(10);

fn session(host: &str, id: &str, epoch: u64) -> Session {
    Session { host_id: host.into(), session_id: id.into(), epoch }
}

fn managed(session: &Session, lease: Option<Duration>) -> Opened {
    Opened::new(session.clone(), None, None, None, true, lease)
}

fn dialled(session: &Session) -> Opened {
    Opened::new(session.clone(), None, None, None, false, None)
}

fn code<T: std::fmt::Debug>(result: Result<T, Status>) -> tonic::Code {
    result.unwrap_err().code()
}

#[test]
fn a_lower_epoch_is_fenced() {
    let sessions = Sessions::default();
    assert_eq!(sessions.open(managed(&session("a", "1", 5), None)).unwrap(), Opening::New);
    let error = sessions.open(managed(&session("a", "2", 4), None)).unwrap_err();
    assert_eq!(error.code(), tonic::Code::FailedPrecondition);
    assert!(error.message().contains("accepted epoch 5"), "{error}");
}

#[test]
fn a_phase_runs_once_per_session_and_in_order() {
    let sessions = Sessions::default();
    let first = session("a", "1", 1);
    sessions.open(managed(&first, None)).unwrap();
    sessions.begin_phase(Some(&first), Phase::PreInit).unwrap();
    sessions.begin_phase(Some(&first), Phase::Init).unwrap();
    assert_eq!(code(sessions.begin_phase(Some(&first), Phase::Init)), tonic::Code::FailedPrecondition);
    assert_eq!(code(sessions.begin_phase(Some(&first), Phase::PreInit)), tonic::Code::FailedPrecondition);

    // A renewal is no new session; another session is.
    assert_eq!(sessions.open(managed(&first, None)).unwrap(), Opening::Renewed);
    assert_eq!(code(sessions.begin_phase(Some(&first), Phase::Init)), tonic::Code::FailedPrecondition);
    let second = session("a", "2", 1);
    assert_eq!(sessions.open(managed(&second, None)).unwrap(), Opening::New);
    sessions.begin_phase(Some(&second), Phase::Init).unwrap();
    assert_eq!(code(sessions.begin_phase(Some(&first), Phase::PostInit)), tonic::Code::FailedPrecondition);
}

#[test]
fn only_a_managed_session_runs_phases_and_drains() {
    let sessions = Sessions::default();
    let first = session("a", "1", 1);
    assert_eq!(code(sessions.check_managed(Some(&first))), tonic::Code::FailedPrecondition);
    sessions.open(dialled(&first)).unwrap();
    assert_eq!(code(sessions.begin_phase(Some(&first), Phase::PreInit)), tonic::Code::FailedPrecondition);
    assert_eq!(code(sessions.check_managed(None)), tonic::Code::FailedPrecondition);
}

#[tokio::test(start_paused = true)]
async fn a_lease_keeps_other_hosts_out_until_it_ends() {
    let sessions = Sessions::default();
    let (ours, theirs) = (session("a", "1", 1), session("b", "1", 1));
    sessions.open(managed(&ours, Some(LEASE))).unwrap();
    assert_eq!(code(sessions.open(managed(&theirs, Some(LEASE)))), tonic::Code::FailedPrecondition);
    assert_eq!(sessions.open(dialled(&theirs)).unwrap(), Opening::Beside);
    sessions.check_managed(Some(&ours)).unwrap();

    tokio::time::advance(LEASE / 2).await;
    assert_eq!(sessions.open(managed(&ours, Some(LEASE))).unwrap(), Opening::Renewed);
    tokio::time::advance(LEASE - Duration::from_secs(1)).await;
    sessions.check_managed(Some(&ours)).unwrap();

    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(code(sessions.check_managed(Some(&ours))), tonic::Code::FailedPrecondition);
    assert_eq!(sessions.open(managed(&theirs, Some(LEASE))).unwrap(), Opening::New);
}

#[test]
fn a_higher_epoch_takes_over_at_once() {
    let sessions = Sessions::default();
    sessions.open(managed(&session("a", "1", 1), None)).unwrap();
    assert_eq!(sessions.open(managed(&session("b", "1", 2), None)).unwrap(), Opening::New);
}
