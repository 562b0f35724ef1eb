//! Synthetic personal data, with check digits worked out here once more, by other ways than the rules' where there is one.

use super::random::Random;
use super::{Kind, Sample};

pub(crate) fn kinds() -> Vec<Kind> {
    vec![
        Kind::new("email_address", |r| Sample::bare(email(r))),
        Kind::new("ipv4_address", |r| Sample::bare(ipv4(r))),
        Kind::new("ipv6_address", |r| Sample::bare(ipv6(r))),
        Kind::new("phone_number", |r| Sample::bare(phone(r))),
        Kind::new("phone_number_national", phone_national),
        Kind::new("iban", |r| Sample::bare(iban(r))),
        Kind::new("payment_card", |r| Sample::bare(card(r))),
        Kind::new("de_tax_id", |r| {
            named(
                r,
                de,
                &["Steuer-ID: ", "IdNr. ", "Steueridentifikationsnummer "],
                &[2, 3, 3, 3],
                "    ",
            )
        }),
        Kind::new("fr_nir", |r| {
            named(
                r,
                fr,
                &["NIR ", "numero de securite sociale : ", "N INSEE: "],
                &[1, 2, 2, 2, 3, 3, 2],
                "       ",
            )
        }),
        Kind::new("es_dni", es),
        Kind::new("it_codice_fiscale", |r| {
            Sample::within(r.pick(&["codice fiscale: ", "Codice Fiscale ", "C.F. "]), &it(r), "")
        }),
        Kind::new("nl_bsn", |r| {
            named(r, nl, &["BSN: ", "burgerservicenummer ", "bsn="], &[4, 2, 3], "..")
        }),
        Kind::new("be_national_number", |r| {
            named(
                r,
                be,
                &["rijksregisternummer ", "NISS: ", "registre national "],
                &[2, 2, 2, 3, 2],
                "..-.",
            )
        }),
        Kind::new("ch_ahv", |r| {
            named(r, ch, &["AHV ", "AHV-Nr. ", "numero AVS "], &[3, 4, 4, 2], "...")
        }),
        Kind::new("pl_pesel", |r| named(r, pl, &["PESEL: ", "pesel ", "PESEL="], &[11], "")),
        Kind::new("se_personnummer", |r| {
            named(r, se, &["personnummer ", "Personnummer: ", "pnr "], &[6, 4], "-")
        }),
        Kind::new("no_fodselsnummer", |r| {
            named(r, no, &["personnummer ", "fnr: ", "fnr="], &[6, 5], " ").led("fnr ")
        }),
        Kind::new("fi_hetu", |r| {
            let id = fi(r);
            match id.ends_with(|c: char| c.is_ascii_digit()) {
                true => Sample::within("hetu ", &id, ""),
                false => Sample::bare(id),
            }
        }),
        Kind::new("gb_nhs_number", |r| {
            named(r, gb, &["NHS number ", "NHS: ", "nhs_number="], &[3, 3, 4], "  ").led("NHS no. ")
        }),
        Kind::new("us_ssn", |r| {
            named(r, us, &["SSN ", "social security number ", "ssn="], &[3, 2, 4], "--")
        }),
        Kind::new("br_cpf", |r| named(r, br, &["CPF ", "cpf: ", "CPF="], &[3, 3, 3, 2], "..-")),
        Kind::new("in_aadhaar", |r| {
            named(r, ind, &["Aadhaar ", "aadhaar no. ", "UID: "], &[4, 4, 4], "  ")
        }),
        Kind::new("cn_resident_id", |r| Sample::bare(cn(r))),
    ]
}

/// Half of them bare digits behind a word, half in their usual groups.
fn named(
    r: &mut Random,
    make: fn(&mut Random) -> String,
    words: &[&str],
    groups: &[usize],
    between: &str,
) -> Sample {
    let plain = make(r);
    if groups.len() == 1 || r.below(2) == 0 {
        return Sample::within(r.pick(words), &plain, "");
    }
    let (mut out, mut rest) = (String::new(), plain.as_str());
    for (i, group) in groups.iter().enumerate() {
        let (head, tail) = rest.split_at(*group);
        out.push_str(head);
        rest = tail;
        out.extend(between.chars().nth(i).filter(|_| i + 1 < groups.len()));
    }
    Sample::bare(out)
}

fn email(r: &mut Random) -> String {
    let first = r.pick(&[
        "anna",
        "j.smith",
        "maria-luisa",
        "x",
        "li.wei",
        "tom_42",
        "o'brien",
        "sales+eu",
        "Peter.Mueller",
    ]);
    let domain = r.pick(&[
        "example.com",
        "gmail.com",
        "firma.de",
        "mail.corp.example.co.uk",
        "uni-koeln.de",
        "proton.me",
        "sub.domain.io",
        "müller.de",
        "acme.travel",
    ]);
    format!("{first}{}@{domain}", r.below(100))
}

fn ipv4(r: &mut Random) -> String {
    loop {
        let [a, b, c, d] = [r.between(1, 223), r.below(256), r.below(256), r.between(1, 254)];
        let special = matches!(
            (a, b, c),
            (10 | 127, _, _)
                | (100, 64..=127, _)
                | (169, 254, _)
                | (172, 16..=31, _)
                | (192, 168, _)
                | (192, 0, 2)
                | (198, 18 | 19, _)
                | (198, 51, 100)
                | (203, 0, 113)
        );
        if !special && [a, b, c, d].iter().any(|octet| *octet > 31) {
            return format!("{a}.{b}.{c}.{d}");
        }
    }
}

fn ipv6(r: &mut Random) -> String {
    match r.below(3) {
        0 => r.fill("2a00:1450:4001:8{2x}::200e"),
        1 => r.fill("2600:1f18:{4x}:{4x}:{4x}:{4x}:{4x}:{4x}"),
        _ => r.fill("2001:4860:4860::8{3x}"),
    }
}

fn phone(r: &mut Random) -> String {
    let nanp = |r: &mut Random| (r.between(201, 989), r.between(200, 999), r.between(0, 9999));
    match r.below(12) {
        0 => r.fill("+49 30 9018{3d}"),
        1 => r.fill("+49 (0)151 {8d}"),
        2 => r.fill("+4915{9d}"),
        3 => r.fill("+44 20 7946 0{3d}"),
        4 => r.fill("+447{9d}"),
        5 => r.fill("+33 6 {2d} {2d} {2d} {2d}"),
        6 => r.fill("+34 6{2d} {3d} {3d}"),
        7 => r.fill("+91 98{3d} {5d}"),
        8 => r.fill("+86 138 {4d} {4d}"),
        9 => r.fill("+55 11 9{4d}-{4d}"),
        _ => {
            let (area, exchange, line) = nanp(r);
            let area = if area / 10 % 10 == 9 { area - 10 } else { area };
            match r.below(3) {
                0 => format!("+1 {area} {exchange} {line:04}"),
                1 => format!("+1-{area}-{exchange}-{line:04}"),
                _ => format!("({area}) {exchange}-{line:04}"),
            }
        }
    }
}

fn phone_national(r: &mut Random) -> Sample {
    match r.below(4) {
        0 => Sample::bare(r.fill("0049 30 9018{3d}")),
        1 => Sample::bare(r.fill("0033 1 {2d} {2d} {2d} {2d}")),
        2 => Sample::within("Tel: ", &r.fill("415-5{2d}-{4d}"), ""),
        _ => Sample::within("phone ", &r.fill("1-212-5{2d}-{4d}"), ""),
    }
}

/// Country and the account's structure, as the registry writes it.
const ACCOUNTS: &[(&str, &str)] = &[
    ("DE", "{18d}"),
    ("FR", "{10d}{11d}{2d}"),
    ("GB", "{4U}{14d}"),
    ("NL", "{4U}{10d}"),
    ("ES", "{20d}"),
    ("IT", "{1U}{10d}{12d}"),
    ("CH", "{5d}{12d}"),
    ("AT", "{16d}"),
    ("BE", "{12d}"),
    ("PL", "{24d}"),
    ("SE", "{20d}"),
    ("NO", "{11d}"),
    ("DK", "{14d}"),
    ("FI", "{14d}"),
    ("IE", "{4U}{14d}"),
    ("PT", "{21d}"),
    ("LU", "{3d}{13d}"),
    ("MT", "{4U}{5d}{18d}"),
    ("SA", "{2d}{18d}"),
    ("AE", "{19d}"),
    ("TR", "{5d}0{16d}"),
    ("GR", "{7d}{16d}"),
];

fn iban(r: &mut Random) -> String {
    let (country, account) = ACCOUNTS[r.below(ACCOUNTS.len())];
    let account = r.fill(account);
    let turned: String = format!("{account}{country}00")
        .chars()
        .map(|c| c.to_digit(36).unwrap().to_string())
        .collect();
    let rest = turned.chars().fold(0, |rest, c| (rest * 10 + c.to_digit(10).unwrap()) % 97);
    let plain = format!("{country}{:02}{account}", 98 - rest);
    match r.below(2) {
        0 => plain,
        _ => plain
            .as_bytes()
            .chunks(4)
            .map(|four| std::str::from_utf8(four).unwrap())
            .collect::<Vec<_>>()
            .join(" "),
    }
}

fn card(r: &mut Random) -> String {
    let (head, length) = [
        ("4", 16),
        ("51", 16),
        ("55", 16),
        ("2221", 16),
        ("34", 15),
        ("37", 15),
        ("6011", 16),
        ("3528", 16),
        ("36", 14),
        ("62", 16),
    ][r.below(10)];
    let body = format!("{head}{}", r.of('d', length - head.len() - 1));
    let check =
        (0..10).find(|check| luhn_sum(&format!("{body}{check}")).is_multiple_of(10)).unwrap();
    let plain = format!("{body}{check}");
    let groups: &[usize] = match length {
        16 => &[4, 8, 12],
        _ => &[4, 10],
    };
    let separator = r.pick(&["", " ", "-"]);
    let mut out = String::new();
    for (i, c) in plain.chars().enumerate() {
        if groups.contains(&i) {
            out.push_str(separator);
        }
        out.push(c);
    }
    out
}

fn luhn_sum(text: &str) -> u32 {
    const DOUBLED: [u32; 10] = [0, 2, 4, 6, 8, 1, 3, 5, 7, 9];
    let digits = text.chars().rev().map(|c| c.to_digit(10).unwrap());
    digits.enumerate().map(|(i, d)| if i % 2 == 1 { DOUBLED[d as usize] } else { d }).sum()
}

fn values(text: &str) -> Vec<u64> {
    text.chars().map(|c| u64::from(c.to_digit(10).unwrap())).collect()
}

fn sum(text: &str, weights: &[u64]) -> u64 {
    values(text).iter().zip(weights).map(|(digit, weight)| digit * weight).sum()
}

/// Draws until the maker finds a check digit.
fn until(r: &mut Random, mut make: impl FnMut(&mut Random) -> Option<String>) -> String {
    loop {
        if let Some(made) = make(r) {
            return made;
        }
    }
}

fn de(r: &mut Random) -> String {
    until(r, |r| {
        let mut digits: Vec<char> = "0123456789".chars().collect();
        for i in (1..10).rev() {
            digits.swap(i, r.below(i + 1));
        }
        let twice = digits[r.below(9)];
        digits[9] = twice;
        digits.swap(9, r.below(8) + 1);
        let body: String = digits.iter().collect();
        let mut product = 10;
        for digit in values(&body) {
            let sum = match (digit + product) % 10 {
                0 => 10,
                sum => sum,
            };
            product = sum * 2 % 11;
        }
        (!body.starts_with('0')).then(|| format!("{body}{}", (11 - product) % 10))
    })
}

fn fr(r: &mut Random) -> String {
    let body = format!(
        "{}{}{:02}{:02}{}",
        r.between(1, 2),
        r.of('d', 2),
        r.between(1, 12),
        r.between(1, 95),
        r.of('d', 6)
    );
    let key = 97 - body.parse::<u64>().unwrap() % 97;
    format!("{body}{key:02}")
}

fn es(r: &mut Random) -> Sample {
    const LETTERS: &str = "TRWAGMYFPDXBNJZSQVHLCKE";
    let letter = |n: usize| &LETTERS[n % 23..n % 23 + 1];
    if r.below(2) == 0 {
        let number = r.between(1_000_000, 99_999_999);
        let hyphen = r.pick(&["", "-"]);
        return Sample::within(
            r.pick(&["DNI ", "NIF: ", "dni="]),
            &format!("{number:08}{hyphen}{}", letter(number)),
            "",
        );
    }
    let (first, number) = (r.below(3), r.below(10_000_000));
    let check = letter(first * 10_000_000 + number);
    Sample::bare(format!("{}{number:07}{check}", ["X", "Y", "Z"][first]))
}

fn it(r: &mut Random) -> String {
    const EVEN: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
    const ODD: &str = "BAKPLCQDREVOSFTGUHMINJWZYX";
    let body = format!(
        "{}{}{}{:02}{}{}",
        r.of('U', 6),
        r.of('d', 2),
        r.pick(&["A", "B", "C", "D", "E", "H", "L", "M", "P", "R", "S", "T"]),
        r.between(1, 31),
        r.of('U', 1),
        r.of('d', 3)
    );
    let letter = |c: char| c.to_digit(10).map_or(c, |d| EVEN.as_bytes()[d as usize] as char);
    let total: usize =
        body.chars()
            .enumerate()
            .map(|(i, c)| {
                if i % 2 == 0 {
                    ODD.find(letter(c)).unwrap()
                } else {
                    EVEN.find(letter(c)).unwrap()
                }
            })
            .sum();
    format!("{body}{}", &EVEN[total % 26..total % 26 + 1])
}

fn nl(r: &mut Random) -> String {
    until(r, |r| {
        let body = r.of('d', 8);
        let check = sum(&body, &[9, 8, 7, 6, 5, 4, 3, 2]) % 11;
        (check < 10 && body != "00000000").then(|| format!("{body}{check}"))
    })
}

fn date(r: &mut Random) -> (usize, usize, usize) {
    (r.below(100), r.between(1, 12), r.between(1, 28))
}

fn be(r: &mut Random) -> String {
    let (y, m, d) = date(r);
    let body = format!("{y:02}{m:02}{d:02}{:03}", r.between(1, 997));
    let century = if r.below(2) == 0 { "" } else { "2" };
    let key = 97 - format!("{century}{body}").parse::<u64>().unwrap() % 97;
    format!("{body}{key:02}")
}

fn ch(r: &mut Random) -> String {
    let body = format!("756{}", r.of('d', 9));
    let total = sum(&body, &[1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3]);
    format!("{body}{}", (10 - total % 10) % 10)
}

fn pl(r: &mut Random) -> String {
    let (y, m, d) = date(r);
    let m = if r.below(2) == 0 { m } else { m + 20 };
    let body = format!("{y:02}{m:02}{d:02}{}", r.of('d', 4));
    let total = sum(&body, &[1, 3, 7, 9, 1, 3, 7, 9, 1, 3]);
    format!("{body}{}", (10 - total % 10) % 10)
}

fn se(r: &mut Random) -> String {
    let (y, m, d) = date(r);
    let body = format!("{y:02}{m:02}{d:02}{}", r.of('d', 3));
    let check =
        (0..10).find(|check| luhn_sum(&format!("{body}{check}")).is_multiple_of(10)).unwrap();
    format!("{body}{check}")
}

fn no(r: &mut Random) -> String {
    until(r, |r| {
        let (y, m, d) = date(r);
        let body = format!("{d:02}{m:02}{y:02}{}", r.of('d', 3));
        let first = (11 - sum(&body, &[3, 7, 6, 1, 8, 9, 4, 5, 2]) % 11) % 11;
        let body = (first < 10).then(|| format!("{body}{first}"))?;
        let second = (11 - sum(&body, &[5, 4, 3, 2, 7, 6, 5, 4, 3, 2]) % 11) % 11;
        (second < 10).then(|| format!("{body}{second}"))
    })
}

fn fi(r: &mut Random) -> String {
    const SIGNS: &str = "0123456789ABCDEFHJKLMNPRSTUVWXY";
    let (y, m, d) = date(r);
    let (date, number) = (format!("{d:02}{m:02}{y:02}"), r.between(2, 899));
    let rest = format!("{date}{number:03}").parse::<usize>().unwrap() % 31;
    format!("{date}-{number:03}{}", &SIGNS[rest..rest + 1])
}

fn gb(r: &mut Random) -> String {
    until(r, |r| {
        let body = r.of('d', 9);
        let check = (11 - sum(&body, &[10, 9, 8, 7, 6, 5, 4, 3, 2]) % 11) % 11;
        (check < 10 && body != "000000000").then(|| format!("{body}{check}"))
    })
}

fn us(r: &mut Random) -> String {
    let area = match r.between(1, 898) {
        666 => 667,
        area => area,
    };
    format!("{area:03}{:02}{:04}", r.between(1, 99), r.between(1, 9999))
}

fn br(r: &mut Random) -> String {
    let check = |body: &str| {
        let total: u64 =
            values(body).iter().rev().zip(2..).map(|(digit, weight)| digit * weight).sum();
        match total % 11 {
            0 | 1 => 0,
            rest => 11 - rest,
        }
    };
    let body = format!("{}{}", r.between(1, 9), r.of('d', 8));
    let first = check(&body);
    let body = format!("{body}{first}");
    format!("{body}{}", check(&body))
}

/// Verhoeff's table and permutation, written out.
fn ind(r: &mut Random) -> String {
    const TIMES: [&str; 10] = [
        "0123456789",
        "1234067895",
        "2340178956",
        "3401289567",
        "4012395678",
        "5987604321",
        "6598710432",
        "7659821043",
        "8765932104",
        "9876543210",
    ];
    const TURN: [&str; 8] = [
        "0123456789",
        "1576283094",
        "5803796142",
        "8916043527",
        "9453126870",
        "4286573901",
        "2793806415",
        "7046913258",
    ];
    let digit = |row: &str, i: usize| usize::from(row.as_bytes()[i] - b'0');
    let body = format!("{}{}", r.between(2, 9), r.of('d', 10));
    let is_right = |text: &str| {
        text.chars().rev().enumerate().fold(0, |sum, (i, c)| {
            digit(TIMES[sum], digit(TURN[i % 8], c.to_digit(10).unwrap() as usize))
        }) == 0
    };
    (0..10).map(|check| format!("{body}{check}")).find(|text| is_right(text)).unwrap()
}

fn cn(r: &mut Random) -> String {
    let body = format!(
        "{}{}{}{:02}{:02}{}",
        r.between(11, 65),
        r.of('d', 4),
        r.between(1950, 2015),
        r.between(1, 12),
        r.between(1, 28),
        r.of('d', 3)
    );
    // ISO 7064: the weights are powers of two.
    let total: u64 =
        values(&body).iter().enumerate().map(|(i, digit)| digit * (1 << (17 - i)) % 11).sum();
    match (12 - total % 11) % 11 {
        10 => format!("{body}X"),
        check => format!("{body}{check}"),
    }
}
