//! A seeded source of everything random, so that a corpus is the same on every machine.

/// splitmix64.
pub(crate) struct Random(u64);

const LOWER: &str = "abcdefghijklmnopqrstuvwxyz";
const UPPER: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const DIGITS: &str = "0123456789";

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 up to, not including, `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// Both ends included.
    pub(crate) fn between(&mut self, from: usize, to: usize) -> usize {
        from + self.below(to - from + 1)
    }

    pub(crate) fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }

    /// So many characters of an alphabet: `a` letters and digits, `w` those with `_-`, `b` base64, `x` hexadecimal, `l`
    /// small letters and digits, `u` capitals and digits, `d` digits, `i` base32, `p` letters, `L` small letters, `U`
    /// capitals.
    pub(crate) fn of(&mut self, alphabet: char, count: usize) -> String {
        let alphabet: Vec<char> = match alphabet {
            'a' => [LOWER, UPPER, DIGITS].concat(),
            'w' => [LOWER, UPPER, DIGITS, "_-"].concat(),
            'b' => [LOWER, UPPER, DIGITS, "+/"].concat(),
            'x' => [DIGITS, "abcdef"].concat(),
            'l' => [LOWER, DIGITS].concat(),
            'u' => [UPPER, DIGITS].concat(),
            'd' => DIGITS.to_owned(),
            'i' => [UPPER, "234567"].concat(),
            'p' => [LOWER, UPPER].concat(),
            'L' => LOWER.to_owned(),
            'U' => UPPER.to_owned(),
            other => panic!("no alphabet {other}"),
        }
        .chars()
        .collect();
        (0..count).map(|_| alphabet[self.below(alphabet.len())]).collect()
    }

    /// Fills a template: `{20w}` is twenty characters of the alphabet `w`, `{20-40w}` twenty to forty.
    pub(crate) fn fill(&mut self, template: &str) -> String {
        let mut out = String::new();
        let mut rest = template;
        while let Some((before, inner)) = rest.split_once('{') {
            let (spec, after) = inner.split_once('}').unwrap();
            out.push_str(before);
            let (count, alphabet) = spec.split_at(spec.len() - 1);
            let (from, to) = count.split_once('-').unwrap_or((count, count));
            let count = self.between(from.parse().unwrap(), to.parse().unwrap());
            out.push_str(&self.of(alphabet.chars().next().unwrap(), count));
            rest = after;
        }
        out + rest
    }

    pub(crate) fn uuid(&mut self) -> String {
        self.fill("{8x}-{4x}-4{3x}-a{3x}-{12x}")
    }
}
