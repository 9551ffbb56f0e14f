//! The same events for every split of the bytes.

use proptest::prelude::*;

use super::*;

/// Frames `pieces` and checks the law of the framer on the way: nothing is lost or added.
fn frame(pieces: &[&[u8]]) -> Vec<SseEvent> {
    let mut framer = SseFramer::new(DEFAULT_MAX_EVENT_BYTES);
    let mut events = Vec::new();
    for piece in pieces {
        framer
            .push(Bytes::copy_from_slice(piece))
            .expect("within the cap");
        while let Some(event) = framer.next_event() {
            events.push(event);
        }
    }
    events.extend(framer.finish());
    let joined: Vec<u8> = events.iter().flat_map(|event| event.raw.to_vec()).collect();
    assert_eq!(joined, pieces.concat());
    events
}

fn check(input: &str, data: &[Option<&str>]) {
    let whole = frame(&[input.as_bytes()]);
    let found: Vec<Option<String>> = whole.iter().map(text).collect();
    let wanted: Vec<Option<String>> = data.iter().map(|it| it.map(str::to_owned)).collect();
    assert_eq!(found, wanted, "{input:?}");
    for at in 0..=input.len() {
        let (head, tail) = input.as_bytes().split_at(at);
        assert_eq!(frame(&[head, tail]), whole, "{input:?} split at {at}");
    }
    let bytes: Vec<&[u8]> = input.as_bytes().chunks(1).collect();
    assert_eq!(frame(&bytes), whole, "{input:?} byte by byte");
}

fn text(event: &SseEvent) -> Option<String> {
    event
        .data()
        .map(|data| String::from_utf8_lossy(&data).into_owned())
}

#[test]
fn every_line_end_and_field_form_of_the_standard() {
    check("data: a\n\ndata: b\n\n", &[Some("a"), Some("b")]);
    check("data: a\r\n\r\ndata: b\r\n\r\n", &[Some("a"), Some("b")]);
    check("data: a\r\rdata: b\r\r", &[Some("a"), Some("b")]);
    check("data: a\r\n\ndata: b\n\r\n", &[Some("a"), Some("b")]);
    check("data:a\n\ndata:  b\n\n", &[Some("a"), Some(" b")]);
    check("data: a\ndata: b\n\n", &[Some("a\nb")]);
    check(
        "data\n\ndata:\n\ndata\ndata\n\n",
        &[Some(""), Some(""), Some("\n")],
    );
    check(": ping\n\n", &[None]);
    check(": ping\ndata: a\n: pong\n\n", &[Some("a")]);
    check("event: e\nid: 1\nretry: 10\ndata: a\n\n", &[Some("a")]);
    check("\n\ndata: a\n\n", &[None, None, Some("a")]);
    check("\u{feff}data: a\n\n\u{feff}data: b\n\n", &[Some("a"), None]);
    check("datax: a\n\n data: b\n\n", &[None, None]);
    check("data: é🎉\n\n", &[Some("é🎉")]);
    check("", &[]);
}

#[test]
fn an_event_without_its_blank_line_is_given_at_the_end() {
    check("data: a\n\ndata: b", &[Some("a"), Some("b")]);
    let ends = |input: &str| frame(&[input.as_bytes()]).pop().map(|it| it.terminated);
    assert_eq!(ends("data: a\n"), Some(false));
    assert_eq!(ends("data: a\n\n"), Some(true));
    assert_eq!(ends("data: a\r\r"), Some(true));
}

#[test]
fn an_event_inside_one_chunk_is_a_slice_of_it() {
    let chunk = Bytes::from_static(b"data: a\n\ndata: b\n\n");
    let range = chunk.as_ptr_range();
    let mut framer = SseFramer::new(64);
    framer.push(chunk.clone()).expect("within the cap");
    while let Some(event) = framer.next_event() {
        assert!(range.contains(&event.raw.as_ptr()));
    }
    assert_eq!(framer.pending_bytes(), 0);
}

#[test]
fn the_event_type_is_the_last_event_field() {
    let name = |raw: &'static str| {
        let event = SseEvent::new(Bytes::from_static(raw.as_bytes()));
        event
            .name()
            .map(|it| String::from_utf8_lossy(it).into_owned())
    };
    assert_eq!(name("data: {}\n\n"), None);
    assert_eq!(name("event: error\ndata: {}\n\n").as_deref(), Some("error"));
    assert_eq!(
        name("data: {}\nevent:error\r\n\r\n").as_deref(),
        Some("error")
    );
    assert_eq!(
        name("event: a\nevent: b\ndata: x\n\n").as_deref(),
        Some("b")
    );
}

#[test]
fn an_event_over_the_cap_fails_whatever_the_split() {
    let input = b"data: 1\n\ndata: 0123456789\n\n";
    for size in 1..=input.len() {
        let mut framer = SseFramer::new(16);
        let mut events = 0;
        let mut error = None;
        for piece in input.chunks(size) {
            error = framer.push(Bytes::copy_from_slice(piece)).err();
            while framer.next_event().is_some() {
                events += 1;
            }
        }
        assert_eq!(events, 1, "chunks of {size}");
        assert_eq!(error, Some(FramingError::EventTooLarge { max_bytes: 16 }));
        assert_eq!(framer.finish(), None);
    }
}

#[test]
fn a_caller_that_takes_events_late_loses_none() {
    let mut framer = SseFramer::new(64);
    for piece in [": x", "\n\ndata: a\n\nda", "ta: b\n", "\ndata: c"] {
        framer.push(Bytes::from(piece)).expect("within the cap");
    }
    let mut events = std::iter::from_fn(|| framer.next_event());
    assert_eq!(events.next().as_ref().map(text), Some(None));
    assert_eq!(events.next().as_ref().and_then(text).as_deref(), Some("a"));
    assert_eq!(events.next().as_ref().and_then(text).as_deref(), Some("b"));
    assert_eq!(events.next(), None);
    assert_eq!(
        framer.finish().as_ref().and_then(text).as_deref(),
        Some("c")
    );
}

proptest! {
    #[test]
    fn the_same_events_for_every_split(
        pieces in prop::collection::vec(
            prop::sample::select(vec![
                "data: ", "data:", "data", "event: x", ":", " ", "\n", "\r", "\r\n", "\n\n", "a",
                "{\"x\":1}", "\u{feff}", "é", "id: 7", "[DONE]",
            ]),
            0..40,
        ),
        cuts in prop::collection::vec(0usize..200, 0..8),
    ) {
        let input = pieces.concat();
        let whole = frame(&[input.as_bytes()]);
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(input.len())).collect();
        cuts.extend([0, input.len()]);
        cuts.sort_unstable();
        let parts: Vec<&[u8]> =
            cuts.windows(2).map(|pair| &input.as_bytes()[pair[0]..pair[1]]).collect();
        prop_assert_eq!(frame(&parts), whole);
    }
}
