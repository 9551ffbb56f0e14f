//! The same messages for every split of the bytes, and the published examples of the format.

use proptest::prelude::*;

use super::*;

/// Frames `pieces`: the messages, and how it ended.
fn frame(pieces: &[&[u8]]) -> (Vec<EventstreamMessage>, Result<(), EventstreamError>) {
    let mut framer = EventstreamFramer::new(1 << 20);
    let mut messages = Vec::new();
    for piece in pieces {
        let pushed = framer.push(Bytes::copy_from_slice(piece));
        messages.extend(std::iter::from_fn(|| framer.next_event()));
        if pushed.is_err() {
            return (messages, pushed);
        }
    }
    let finished = framer.finish();
    (messages, finished)
}

/// The same at every split, and byte by byte.
fn check(input: &[u8]) -> (Vec<EventstreamMessage>, Result<(), EventstreamError>) {
    let whole = frame(&[input]);
    for at in 0..=input.len() {
        let (head, tail) = input.split_at(at);
        assert_eq!(frame(&[head, tail]), whole, "split at {at}");
    }
    let bytes: Vec<&[u8]> = input.chunks(1).collect();
    assert_eq!(frame(&bytes), whole, "byte by byte");
    whole
}

/// The vectors that the AWS SDKs share for this format.
#[test]
fn the_published_messages_are_read() {
    let empty = b"\x00\x00\x00\x10\x00\x00\x00\x00\x05\xc2H\xeb}\x98\xc8\xff";
    let plain = b"\x00\x00\x00\x1d\x00\x00\x00\x00\xfdR\x8cZ{'foo':'bar'}\xc3e96";
    let number = b"\x00\x00\x00+\x00\x00\x00\x0e4\x8b\xec{\x08event-id\x04\x00\x00\xa0\x0c{'foo':'bar'}\xd3\x89\x02\x85";
    let text = b"\x00\x00\x00=\x00\x00\x00 \x07\xfd\x83\x96\x0ccontent-type\x07\x00\x10application/json{'foo':'bar'}\x8d\x9c\x08\xb1";
    let all = [&empty[..], plain, number, text].concat();
    let (messages, end) = check(&all);
    assert_eq!(end, Ok(()));
    let payloads: Vec<_> = messages.iter().map(EventstreamMessage::payload).collect();
    let payload = &b"{'foo':'bar'}"[..];
    assert_eq!(payloads, [b"", payload, payload, payload]);
    let headers = |at: usize| messages[at].headers().collect::<Vec<_>>();
    assert_eq!(headers(1), []);
    let id = ("event-id".to_owned(), HeaderValue::Integer(40972));
    assert_eq!(headers(2), [id]);
    assert_eq!(messages[3].header("content-type"), Some("application/json"));
    assert_eq!(
        encode(&[("content-type", "application/json")], payload),
        &text[..]
    );
    assert_eq!(encode(&[], b""), &empty[..]);
}

#[test]
fn every_type_of_header() {
    let mut head = BytesMut::new();
    let mut put = |kind: u8, value: &[u8]| {
        head.put_slice(&[1, b'h', kind]);
        head.put_slice(value);
    };
    put(0, &[]);
    put(1, &[]);
    put(2, &[0xff]);
    put(3, &[0, 2]);
    put(4, &[0, 0, 0, 3]);
    put(5, &[0, 0, 0, 0, 0, 0, 0, 4]);
    put(6, &[0, 2, 8, 9]);
    put(7, &[0, 2, b'o', b'k']);
    put(8, &[0, 0, 0, 0, 0, 0, 0, 5]);
    put(9, &[7; 16]);
    let (messages, end) = check(&encode_raw(&head, b"x"));
    assert_eq!(end, Ok(()));
    let values: Vec<_> = messages[0].headers().map(|(_, value)| value).collect();
    assert_eq!(
        values,
        [
            HeaderValue::Boolean(true),
            HeaderValue::Boolean(false),
            HeaderValue::Integer(-1),
            HeaderValue::Integer(2),
            HeaderValue::Integer(3),
            HeaderValue::Integer(4),
            HeaderValue::Bytes(Bytes::from_static(&[8, 9])),
            HeaderValue::Text("ok".into()),
            HeaderValue::Timestamp(5),
            HeaderValue::Uuid([7; 16]),
        ]
    );
    assert_eq!(messages[0].header("h"), Some("ok"));
}

#[test]
fn what_is_damaged_ends_the_stream() {
    let good = encode(&[(":event-type", "a")], b"payload");
    for at in 0..good.len() {
        let mut bad = good.to_vec();
        bad[at] ^= 1;
        let (messages, end) = check(&[&good[..], &bad, &good].concat());
        assert_eq!(messages.len(), 1, "byte {at}");
        let part = if at < PRELUDE_BYTES {
            "prelude"
        } else {
            "message"
        };
        assert_eq!(end, Err(EventstreamError::Checksum { part }), "byte {at}");
    }
    let torn = check(&good[..good.len() - 1]).1;
    let bytes = good.len() - 1;
    assert_eq!(torn, Err(EventstreamError::Torn { bytes }));
}

#[test]
fn lengths_that_cannot_be_are_refused_before_anything_is_kept() {
    let prelude = |bytes: u32, header_bytes: u32| {
        let mut out = BytesMut::new();
        out.put_u32(bytes);
        out.put_u32(header_bytes);
        out.put_u32(crc32fast::hash(&out));
        check(&out).1
    };
    let lengths = |bytes, header_bytes| {
        Err(EventstreamError::Lengths {
            bytes,
            header_bytes,
        })
    };
    assert_eq!(prelude(15, 0), lengths(15, 0));
    assert_eq!(prelude(20, 5), lengths(20, 5));
    assert_eq!(prelude(u32::MAX, 1 << 20), lengths(0xffff_ffff, 1 << 20));
    let large = EventstreamError::TooLarge {
        bytes: 0xffff_ffff,
        max_bytes: 1 << 20,
    };
    assert_eq!(prelude(u32::MAX, 0), Err(large));
    let unreadable = encode_raw(&[3, b'a'], b"");
    assert_eq!(check(&unreadable).1, Err(EventstreamError::Headers));
}

#[test]
fn exceptions_and_errors_have_their_names() {
    let exception = [
        (":message-type", "exception"),
        (":exception-type", "throttlingException"),
    ];
    let error = [
        (":message-type", "error"),
        (":error-code", "InternalError"),
        (":error-message", "it \"broke\""),
    ];
    let event = [(":message-type", "event"), (":event-type", "messageStart")];
    let stream = [
        encode(&event, b"{}"),
        encode(&exception, br#"{"message":"slow down"}"#),
        encode(&error, b""),
    ];
    let (messages, _) = check(&stream.concat());
    let seen = |message: &EventstreamMessage| {
        let data = String::from_utf8(message.data().into_owned()).expect("text");
        (
            message.is_failure(),
            message.name().map(str::to_owned),
            data,
        )
    };
    let expect = |failed, name: &str, data: &str| (failed, Some(name.to_owned()), data.to_owned());
    assert_eq!(seen(&messages[0]), expect(false, "messageStart", "{}"));
    let slow = expect(true, "throttlingException", r#"{"message":"slow down"}"#);
    assert_eq!(seen(&messages[1]), slow);
    let broke = expect(true, "InternalError", r#"{"message":"it \"broke\""}"#);
    assert_eq!(seen(&messages[2]), broke);
}

#[test]
fn a_message_inside_one_chunk_is_a_slice_of_it() {
    let chunk = Bytes::from([encode(&[], b"a"), encode(&[], b"b")].concat());
    let range = chunk.as_ptr_range();
    let mut framer = EventstreamFramer::new(1024);
    framer.push(chunk.clone()).expect("whole");
    while let Some(message) = framer.next_event() {
        assert!(range.contains(&message.raw.as_ptr()));
    }
    assert_eq!(framer.pending_bytes(), 0);
}

proptest! {
    #[test]
    fn the_same_messages_for_every_split(
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..6),
        noise in prop::collection::vec(any::<u8>(), 0..20),
        cuts in prop::collection::vec(0usize..400, 0..8),
    ) {
        let mut input = Vec::new();
        for payload in &payloads {
            input.extend_from_slice(&encode(&[(":event-type", "x")], payload));
        }
        input.extend_from_slice(&noise);
        let whole = frame(&[&input]);
        prop_assert_eq!(whole.0.len(), payloads.len());
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(input.len())).collect();
        cuts.extend([0, input.len()]);
        cuts.sort_unstable();
        let parts: Vec<&[u8]> = cuts.windows(2).map(|pair| &input[pair[0]..pair[1]]).collect();
        prop_assert_eq!(frame(&parts), whole);
    }
}
