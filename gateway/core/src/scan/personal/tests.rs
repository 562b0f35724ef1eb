//! Numbers that are printed on specimens, and what only looks like them.

use crate::scan::{Class, Detectors, Guard};

fn found(text: &str) -> Vec<(String, String)> {
    let personal = |class| class == Class::PersonalData;
    let hits = Detectors::built_in().find(Guard::ToolCall, &personal, text);
    hits.into_iter().map(|hit| (hit.rule.to_string(), text[hit.span].to_owned())).collect()
}

#[track_caller]
fn finds(rule: &str, text: &str, value: &str) {
    assert_eq!(found(text), [(rule.to_owned(), value.to_owned())], "{text}");
}

#[track_caller]
fn quiet(texts: &[&str]) {
    for text in texts {
        assert_eq!(found(text), [], "{text}");
    }
}

#[test]
fn mail_addresses() {
    finds(
        "email_address",
        "Write to <Anna.O'Neil+x@mail.example.co.uk>.",
        "Anna.O'Neil+x@mail.example.co.uk",
    );
    finds("email_address", "mail:max@m\u{fc}ller.de!", "max@m\u{fc}ller.de");
    finds("email_address", "\u{90ae}\u{7bb1}zhang@corp.cn\u{3002}", "zhang@corp.cn");
    quiet(&[
        "git@github.com:a/b.git",
        "npm i @scope/pkg@1.2.3",
        "icon@2x.png",
        "user@localhost",
        "a@b",
        "noreply@x.com",
        "https://user@host.com/",
        "postgres://app:secret@db.internal.com/x",
        "@decorator.name",
        "foo@bar.service",
    ]);
}

#[test]
fn addresses_of_machines() {
    finds("ipv4_address", "from 93.184.216.34:443.", "93.184.216.34");
    finds(
        "ipv6_address",
        "[2606:2800:220:1:248:1893:25c8:1946]:80",
        "2606:2800:220:1:248:1893:25c8:1946",
    );
    quiet(&[
        "127.0.0.1",
        "10.1.2.3",
        "192.168.0.1",
        "172.16.5.4",
        "169.254.1.1",
        "192.0.2.7",
        "203.0.113.9",
        "0.0.0.0",
        "255.255.255.255",
        "1.2.3.4",
        "version 4.80.120.7",
        "v7.90.8.9",
        "pkg==5.60.70.80",
        "8.8.8.0/24",
        "300.1.1.1",
        "1.93.184.216.34",
        "lib-2.40.50.60-x",
        "::1",
        "fe80::1",
        "fd00::1",
        "2001:db8::1",
        "std::str::from",
        "12:34:56",
        "52:54:00:12:34:56",
        "2a00::/16",
    ]);
}

#[test]
fn phone_numbers() {
    for (text, value) in [
        ("call +49 (0)30 901820 now", "+49 (0)30 901820"),
        ("tel:+442079460958", "+442079460958"),
        ("+1 (415) 555-2671", "+1 (415) 555-2671"),
        ("(415) 555-2671", "(415) 555-2671"),
        ("+33 1 42 68 53 00, 2024", "+33 1 42 68 53 00"),
    ] {
        finds("phone_number", text, value);
    }
    finds("phone_number_national", "0049 30 901820", "0049 30 901820");
    finds("phone_number_national", "phone: 415-555-2671", "415-555-2671");
    quiet(&[
        "part 415-555-2671",
        "+12 more",
        "+20240115",
        "a+4915112345678",
        "+999999-12-31 23:59",
        "x = y +12345678901234567",
        "(123) 456-7890",
        "fn(100) 200-3000",
        "+0100",
    ]);
}

#[test]
fn accounts_and_cards() {
    for iban in [
        "DE89 3704 0044 0532 0130 00",
        "GB29NWBK60161331926819",
        "FR14 2004 1010 0505 0001 3M02 606",
        "NL91 ABNA 0417 1643 00",
    ] {
        finds("iban", &format!("Konto {iban}, danke"), iban);
    }
    for card in
        ["4111 1111 1111 1111", "5555-5555-5555-4444", "378282246310005", "6011111111111117"]
    {
        finds("payment_card", &format!("card {card} 12/27 123"), card);
    }
    let two = found("4111 1111 1111 1111 5555 5555 5555 4444");
    assert_eq!(two.len(), 2, "{two:?}");
    quiet(&[
        "DE89 3704 0044 0532 0130 01",
        "DE8937040044053201300",
        "XX89370400440532013000",
        "ADE89370400440532013000",
        "4111 1111 1111 1112",
        "4111-1111 1111-1111",
        "14111111111111111",
        "4111111111111111.5",
        "id_4111111111111111",
        "1732442400123456",
        "0000 0000 0000 0000",
    ]);
}

#[test]
fn national_ids() {
    for (rule, text, value) in [
        ("de_tax_id", "Steuer-ID 86095742719", "86095742719"),
        ("de_tax_id", "86 095 742 719", "86 095 742 719"),
        ("fr_nir", "2 55 08 14 168 025 38", "2 55 08 14 168 025 38"),
        ("es_dni", "DNI 12345678Z", "12345678Z"),
        ("es_dni", "X1234567L", "X1234567L"),
        ("it_codice_fiscale", "codice fiscale RSSMRA85T10A562S", "RSSMRA85T10A562S"),
        ("nl_bsn", "BSN 111222333", "111222333"),
        ("be_national_number", "93.05.18-223.61", "93.05.18-223.61"),
        ("ch_ahv", "756.9217.0769.85", "756.9217.0769.85"),
        ("pl_pesel", "PESEL 44051401359", "44051401359"),
        ("se_personnummer", "811218-9876", "811218-9876"),
        ("fi_hetu", "131052-308T", "131052-308T"),
        ("gb_nhs_number", "NHS number 943 476 5919", "943 476 5919"),
        ("us_ssn", "536-90-4399", "536-90-4399"),
        ("br_cpf", "529.982.247-25", "529.982.247-25"),
        ("in_aadhaar", "2341 2341 2346", "2341 2341 2346"),
        ("cn_resident_id", "11010519491231002X", "11010519491231002X"),
    ] {
        finds(rule, text, value);
    }
    quiet(&[
        // A wrong check digit.
        "Steuer-ID 86095742718",
        "2 55 08 14 168 025 39",
        "DNI 12345678A",
        "X1234567A",
        "codice fiscale RSSMRA85T10A562T",
        "BSN 111222334",
        "93.05.18-223.62",
        "756.9217.0769.86",
        "PESEL 44051401358",
        "811218-9877",
        "131052-308U",
        "NHS 943 476 5918",
        "529.982.247-26",
        "2341 2341 2347",
        "110105194912310021",
        // No word, bare.
        "86095742719",
        "255081416802538",
        "12345678Z",
        "111222333",
        "44051401359",
        "9434765919",
        "536904399",
        "52998224725",
        "234123412346",
        "RSSMRA85T10A562S",
        // Never issued.
        "666-12-3456",
        "000-12-3456",
        "900-12-3456",
        "123-00-4567",
        "123-45-0000",
        "078-05-1120",
        "1-536-90-4399",
    ]);
}

#[test]
fn a_key_says_what_its_number_is() {
    let modes = crate::scan::Modes::default();
    let found = |text: &str| {
        crate::scan::message::read(&Detectors::built_in(), Guard::ToolCall, &modes, text)
    };
    for text in [
        r#"{"ssn":"536904399"}"#,
        r#"{"ssn":536904399}"#,
        r#"{"userSsn":"536904399"}"#,
        r#"{"steuer_id":86095742719}"#,
    ] {
        assert_eq!(found(text).len(), 1, "{text}");
    }
    for text in [r#"{"count":536904399}"#, r#"{"ssn":666123456}"#] {
        assert_eq!(found(text), [], "{text}");
    }
}

#[test]
fn numbers_of_any_length_are_no_trouble() {
    for length in 1..60 {
        for (before, behind) in
            [("", ""), ("X", "L"), ("+", ""), ("DNI ", "-Z"), ("DE", ""), ("00", "")]
        {
            let text = format!("{before}{}{behind}", "9".repeat(length));
            assert!(found(&text).len() <= 1, "{text}");
        }
    }
}
