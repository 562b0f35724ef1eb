use super::*;

const KEY: &str = "AKIAQ3EGRZV5WKJ7XN4T";

fn screen(mode: Mode) -> Screen {
    let mut scanning = Scanning { limit: 1000, ..Scanning::default() };
    scanning.modes.set(Guard::ToolCall, Class::Secrets, mode);
    Screen { scanning: Arc::new(scanning), guard: Guard::ToolCall, key: [7; 32] }
}

/// What the client gets: the text, or why it gets none.
fn passes(seen: &mut Seen, text: &str) -> Result<String, String> {
    let cleared = seen.clear(bytes::Bytes::copy_from_slice(text.as_bytes()));
    let text = |cleared: Cleared| String::from_utf8(cleared.into_bytes().to_vec()).unwrap();
    cleared.map(text).map_err(|blocked| blocked.told)
}

#[test]
fn a_mode_says_what_becomes_of_a_message() {
    let text = format!(r#"{{"result":{{"a":"it is {KEY}"}}}}"#);
    for (mode, expected) in [
        (Mode::Off, Ok(text.clone())),
        (Mode::Monitor, Ok(text.clone())),
        (Mode::Mask, Ok(text.replace(KEY, "[masked:aws_access_key_id]"))),
        (Mode::Block, Err(())),
    ] {
        let mut seen = screen(mode).message(&text);
        let modes: Vec<Mode> = seen.findings.listed.iter().map(|finding| finding.mode).collect();
        assert_eq!(modes, if mode == Mode::Off { vec![] } else { vec![mode] });
        let kept = seen.kept(&text, 0..text.len()).unwrap();
        assert_eq!(kept.contains(KEY), mode == Mode::Off, "{mode:?}: {kept}");
        let got = passes(&mut seen, &text);
        assert_eq!(got.clone().map_err(|_| ()), expected);
        if let Err(told) = got {
            assert!(told.contains("/result/a") && !told.contains(KEY), "{told}");
        }
    }
}

#[test]
fn what_cannot_be_masked_is_blocked() {
    for path in HANDLES {
        let (first, rest) = path.split_first().unwrap();
        let inner = rest
            .iter()
            .rev()
            .fold(format!("\"{KEY}\""), |inner, key| format!(r#"{{"{key}":{inner}}}"#));
        let text = format!(r#"{{"x":"","{first}":{inner}}}"#);
        let mut seen = screen(Mode::Mask).message(&text);
        assert_eq!(seen.findings.listed[0].mode, Mode::Block, "{text}");
        assert!(passes(&mut seen, &text).is_err(), "{text}");
        assert!(passes(&mut screen(Mode::Monitor).message(&text), &text).is_ok());
    }
    let mut seen = screen(Mode::Mask).text(KEY, "mcp-name");
    assert_eq!(
        (seen.findings.listed[0].mode, &*seen.findings.listed[0].path),
        (Mode::Block, "mcp-name")
    );
    assert!(passes(&mut seen, KEY).is_err());
}

/// However many decoys stand before it.
#[test]
fn a_handle_is_one_behind_very_many_finds() {
    let decoys = format!("{KEY} ").repeat(600);
    let text = format!(r#"{{"x":"{decoys}","params":{{"uri":"{KEY}"}}}}"#);
    let mut scanning = Scanning::clone(&screen(Mode::Mask).scanning);
    scanning.limit = 1 << 20;
    let screen = Screen { scanning: Arc::new(scanning), ..screen(Mode::Mask) };
    let mut seen = screen.message(&text);
    assert_eq!(seen.findings.listed.len(), FINDINGS);
    assert!(!seen.kept(&text, 0..text.len()).unwrap().contains(KEY));
    let mut name = format!("fake://{KEY}");
    seen.redact(&mut name);
    assert!(!name.contains(KEY));
    assert!(passes(&mut seen, &text).is_err());
}

#[test]
fn members_that_others_read_stay_as_they_are() {
    let text = format!(r#"{{"result":{{"tools":[{{"name":"{KEY}"}}],"a":"{KEY}","_meta":{{}}}}}}"#);
    let mut seen = screen(Mode::Mask).message_around(&text, &["tools", "absent"], Told::default());
    let expected = format!(
        r#"{{"result":{{"tools":[{{"name":"{KEY}"}}],"a":"[masked:aws_access_key_id]","_meta":{{}}}}}}"#
    );
    assert_eq!(passes(&mut seen, &text), Ok(expected));
    let mut seen = screen(Mode::Block).message_around(&text, &["tools", "a"], Told::default());
    assert_eq!((passes(&mut seen, &text), seen.findings.listed.len()), (Ok(text.clone()), 0));
}

#[test]
fn what_is_too_long_is_refused_or_passes_and_is_recorded() {
    let text = |length: usize| format!("\"{}\"", "x".repeat(length - 2));
    let passing =
        Scanning { over_limit: OverLimit::Pass, ..Scanning::clone(&screen(Mode::Mask).scanning) };
    let passing = Screen { scanning: Arc::new(passing), ..screen(Mode::Mask) };
    for (length, over) in [(999, false), (1000, false), (1001, true)] {
        let text = text(length);
        let refused = passes(&mut screen(Mode::Mask).message(&text), &text);
        assert_eq!(refused.is_err(), over, "{length}");
        assert_eq!(
            passes(&mut screen(Mode::Off).message(&text), &text).is_err(),
            over,
            "others are on"
        );
        let mut seen = passing.message(&text);
        assert_eq!(seen.findings.listed.len(), if over { Class::ALL.len() } else { 0 });
        assert!(seen.findings.listed.iter().all(|finding| &*finding.rule == UNSCANNED));
        assert_eq!(seen.kept(&text, 0..2).is_none(), over);
        assert_eq!(passes(&mut seen, &text), Ok(text));
    }
}

#[test]
fn the_trace_is_left_out_and_nothing_but_the_trace() {
    let text = |trace: &str| format!(r#"{{"params":{{"_meta":{{"traceparent":"{trace}"}}}}}}"#);
    let trace = format!("00-{}-{}-01", "4111".repeat(8), "4111".repeat(4));
    let good = text(&trace);
    assert_eq!(traceparent(&good).map(|span| good[span].to_owned()), Some(format!("\"{trace}\"")));
    for bad in [format!("{}-{KEY}", trace.replacen("00", "01", 1)), KEY.to_owned()] {
        assert_eq!(traceparent(&text(&bad)), None);
        assert!(passes(&mut screen(Mode::Block).message(&text(&bad)), "").is_err(), "{bad}");
    }
}
