//! The case files of this package, and that the runner notices what is wrong with one.

use std::path::Path;

use policies::run_cases;

#[test]
fn every_case_ends_as_expected() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
    let (mut cases, mut denials, mut failures) = (0, 0, vec![]);
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap().to_string_lossy().into_owned();
        let run = run_cases(&file, &std::fs::read_to_string(&path).unwrap());
        cases += run.cases;
        denials += run.denials;
        failures.extend(run.failures.iter().map(ToString::to_string));
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
    assert!(cases >= 150, "{cases}");
    assert!(denials * 5 > cases * 3, "{denials} of {cases}");
}

#[test]
fn a_wrong_case_is_noticed() {
    let setting = "[[users]]\nemail = \"a@b.c\"\n[[servers]]\nslug = \"s\"\n---\n";
    let wrong = [
        ("a@b.c | call s/t | allow", "f:6: expected allow, got not found"),
        ("a@b.c | call s/t | deny", "f:6: expected deny, got not found"),
        ("x@b.c | call s/t | deny", "f:6: nobody is called x@b.c in this file"),
        ("a@b.c | call t/t | deny", "f:6: no server is called t in this file"),
        ("a@b.c | call s/t | yes", "f:6: \"yes\" is no answer to that"),
        ("a@b.c | call s/t |", "f:6: expected one of allow, deny, not found, confirm, listed"),
        ("a@b.c | fetch s/t | deny", "f:6: \"fetch\" is not one of call read prompt list"),
        ("a@b.c | call s/t {\"a\":1,\"a\":2} | deny", "f:6: duplicate key"),
        ("a@b.c", "f:6: expected who | what | expected"),
        ("", "f:5: expected at least one case"),
    ];
    for (line, expected) in wrong {
        let run = run_cases("f", &format!("{setting}{line}"));
        let got: Vec<String> = run.failures.iter().map(ToString::to_string).collect();
        assert!(got.len() == 1 && got[0].starts_with(expected), "{line}: {got:?}");
    }
    let typo = "[[policies]]\nname = \"p\"\nefect = \"allow\"\n---\n";
    assert_eq!(run_cases("f", typo).failures[0].line, 3);
}
