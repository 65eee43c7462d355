use super::*;

fn facts() -> Vec<Fact> {
    let event = Seen { id: "1-7".to_owned(), key: "k3".to_owned(), digest: 0x0102_0304_0506_0708 };
    let id = || "1-7".to_owned();
    vec![
        Fact::Publishing(event.clone()),
        Fact::Accepted { id: id(), duplicate: false },
        Fact::Accepted { id: id(), duplicate: true },
        Fact::Refused { id: id(), code: 8 },
        Fact::Unanswered { id: id() },
        Fact::Connected { host: 4711 },
        Fact::Delivered { number: 9, attempt: 2, event },
        Fact::Handled { number: 9 },
        Fact::Failed { number: 9 },
        Fact::Lost,
        Fact::HostStarted { host: 4711 },
        Fact::HostDead { host: 4711 },
        Fact::Killing(Who::Publisher(Incarnation { index: 1, life: 2 })),
        Fact::Killing(Who::Member(Incarnation { index: 3, life: 4 })),
    ]
}

#[test]
fn what_is_written_can_be_read() {
    let directory = tempfile::tempdir().unwrap();
    let who = Who::Member(Incarnation { index: 3, life: 0 });
    let mut writer = Writer::create(directory.path(), who).unwrap();
    let written: Vec<_> = facts().into_iter().map(|fact| writer.write(fact).unwrap()).collect();
    let text = std::fs::read_to_string(who.path(directory.path())).unwrap();
    let mut records = Vec::new();
    assert_eq!(who.read(&text, &mut records), Ok(text.len()));
    assert_eq!(records, written);
    assert!(records.is_sorted_by_key(|record| record.at));
}

#[test]
fn a_line_that_was_cut_is_left_for_later_and_a_broken_one_is_reported() {
    let who = Who::Runner;
    let mut records = Vec::new();
    assert_eq!(who.read("1 lost\n2 lo", &mut records), Ok(7));
    assert_eq!(records, [Record { at: 1, who, fact: Fact::Lost }]);
    for broken in ["lost\n", "1 lost now\n", "1 handled x\n", "1 killing member-1\n", "1 accepted 1-1 old\n"]
    {
        let unreadable = Unreadable(broken.trim_end().to_owned());
        assert_eq!(who.read(broken, &mut records), Err(unreadable));
    }
}
