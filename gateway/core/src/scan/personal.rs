//! Rules for personal data: addresses, numbers of phones, cards and accounts, national ids.
//!
//! Numbers must pass their check digits. Those whose spelling says nothing, bare runs of digits, count only beside a word
//! that names them: every tenth number passes a check digit.

mod addresses;
mod bank;
mod check_digits;
mod groups;
mod ids;
mod phone;

#[cfg(test)]
mod tests;

use std::ops::Range;

use super::Class;
use super::rule::{Rule, Seek};

/// The rules.
pub(super) const RULES: &[Rule] = &[
    by_byte("email_address", b"@", addresses::email),
    by_byte("ipv4_address", b".", addresses::ipv4),
    by_byte("ipv6_address", b":", addresses::ipv6),
    by_byte("phone_number", b"+(", phone::international),
    by_digits("phone_number_national", phone::national, &[&[0], &[10], &[3, 3, 4]]),
    by_digits("iban", bank::iban, &[]),
    by_digits(
        "payment_card",
        bank::card,
        &[&[14], &[15], &[16], &[19], &[4, 4, 4, 4], &[4, 6, 4], &[4, 6, 5]],
    ),
    by_digits("de_tax_id", ids::de, &[&[11], &[2, 3, 3, 3]]),
    by_digits("fr_nir", ids::fr, &[&[15], &[13, 2], &[1, 2, 2, 2, 3, 3, 2]]),
    by_digits("es_dni", ids::es, &[&[7], &[8]]),
    by_digits("nl_bsn", ids::nl, &[&[9], &[4, 2, 3]]),
    by_digits("be_national_number", ids::be, &[&[11], &[2, 2, 2, 3, 2]]),
    by_digits("ch_ahv", ids::ch, &[&[13], &[3, 4, 4, 2]]),
    by_digits("pl_pesel", ids::pl, &[&[11]]),
    by_digits("se_personnummer", ids::se, &[&[6, 4], &[8, 4], &[10], &[12]]),
    by_digits("no_fodselsnummer", ids::no, &[&[11], &[6, 5]]),
    by_digits("fi_hetu", ids::fi, &[&[6, 3], &[6, 4]]),
    by_digits("gb_nhs_number", ids::gb, &[&[10], &[3, 3, 4]]),
    by_digits("us_ssn", ids::us, &[&[9], &[3, 2, 4]]),
    by_digits("br_cpf", ids::br, &[&[11], &[3, 3, 3, 2]]),
    by_digits("in_aadhaar", ids::ind, &[&[12], &[4, 4, 4]]),
    by_digits("cn_resident_id", ids::cn, &[&[17], &[18]]),
    // Letters first, so only beside its name.
    Rule {
        name: "it_codice_fiscale",
        class: Class::PersonalData,
        guards: &[],
        seek: Seek::Literals {
            literals: &[
                "codice fiscale",
                "codice_fiscale",
                "codice-fiscale",
                "codicefiscale",
                "cod. fisc",
                "c.f.",
            ],
            pattern: r#"(?i:codice[ _-]?fiscale|cod\. ?fisc\.?|c\.f\.)(?:[ \t]?(?:di|è|of)[^:\n]{0,30})?["']?[ \t:=]{0,4}["']?(?P<it>(?i:[A-Z]{6}[0-9LMNP-V]{2}[ABCDEHLMPRST][0-9LMNP-V]{2}[A-Z][0-9LMNP-V]{3}[A-Z]))(?-u:\b)"#,
        },
        check: Some(check_digits::it),
        weight: 100,
    },
];

const fn by_byte(
    name: &'static str,
    bytes: &'static [u8],
    find: fn(&str, usize) -> Option<Range<usize>>,
) -> Rule {
    personal(name, Seek::Byte { bytes, find })
}

const fn by_digits(
    name: &'static str,
    find: fn(&str, Range<usize>) -> Option<Range<usize>>,
    groups: &'static [&'static [u8]],
) -> Rule {
    personal(name, Seek::Digits { groups, find })
}

const fn personal(name: &'static str, seek: Seek) -> Rule {
    Rule { name, class: Class::PersonalData, guards: &[], seek, check: None, weight: 100 }
}
