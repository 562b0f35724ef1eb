//! Characters that do not show and so may stand in the middle of anything.

/// For a character that does not show: what it stands for, which is nothing, or of a Unicode tag character the ASCII
/// character that it mirrors.
pub(super) fn unseen(c: char) -> Option<Option<char>> {
    match c {
        '\u{E0020}'..='\u{E007E}' => {
            Some(u32::from(c).checked_sub(0xE0000).and_then(char::from_u32))
        }
        '\u{AD}'
        | '\u{34F}'
        | '\u{180B}'..='\u{180F}'
        | '\u{200B}'..='\u{200F}'
        | '\u{202A}'..='\u{202E}'
        | '\u{2060}'..='\u{206F}'
        | '\u{FE00}'..='\u{FE0F}'
        | '\u{FEFF}'
        | '\u{E0000}'..='\u{E0FFF}' => Some(None),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_does_not_show() {
        assert_eq!(unseen('\u{200B}'), Some(None));
        assert_eq!(unseen('\u{E0041}'), Some(Some('A')));
        assert_eq!(unseen('\u{E0001}'), Some(None));
        for c in ['a', ' ', 'é', '\u{2014}', '\u{FF21}', '\u{1F600}'] {
            assert_eq!(unseen(c), None);
        }
    }
}
