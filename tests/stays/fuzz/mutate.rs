//! Inputs near the kept ones: a few small changes each.

use crate::random::Random;

const LONGEST: usize = 4096;
/// Numbers and bytes at which readers change their mind.
const EDGES: &[u8] = &[
    0, 1, 0x0a, 0x0d, 0x20, 0x22, 0x2d, 0x30, 0x5c, 0x7b, 0x7d, 0x7f, 0x80, 0xbf, 0xc0, 0xed, 0xef,
    0xff,
];

/// One kept input with up to six changes; `words` are what the target's language is made of.
pub(super) fn mutate(kept: &[(String, Vec<u8>)], words: &[&[u8]], random: &mut Random) -> Vec<u8> {
    let mut input = kept[random.below(kept.len())].1.clone();
    for _ in 0..1 + random.below(6) {
        change(&mut input, kept, words, random);
        input.truncate(LONGEST);
    }
    input
}

fn change(input: &mut Vec<u8>, kept: &[(String, Vec<u8>)], words: &[&[u8]], random: &mut Random) {
    let at = random.below(input.len() + 1);
    let end = (at + 1 + random.below(12)).min(input.len());
    match random.below(9) {
        0 if at < input.len() => input[at] ^= 1 << random.below(8),
        1 if at < input.len() => input[at] = EDGES[random.below(EDGES.len())],
        2 => drop(input.drain(at..end)),
        3 => {
            let again = input[at..end].to_vec();
            let to = random.below(input.len() + 1);
            input.splice(to..to, again);
        }
        4 => {
            let other = &kept[random.below(kept.len())].1;
            let from = random.below(other.len() + 1);
            let until = (from + 1 + random.below(64)).min(other.len());
            input.splice(at..end, other[from..until].iter().copied());
        }
        5 => {
            let repeated = input[at..end].repeat(1 + random.below(40));
            input.splice(at..at, repeated);
        }
        6 => drop(input.splice(at..end, random.pick(words).iter().copied())),
        7 => input.insert(at, random.next() as u8),
        _ => drop(input.splice(at..at, random.pick(words).iter().copied())),
    }
}
