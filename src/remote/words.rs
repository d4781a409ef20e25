//! What may be repeated of the remote's own words. Must never let through a secret that was sent to it.

use crate::secret::SecretBytes;

/// The longest description that is kept, in characters.
const LONGEST_DESCRIPTION: usize = 200;
/// The longest error code that is kept, in characters.
const LONGEST_CODE: usize = 64;
/// So many bytes of a secret in a row make a quotation.
const QUOTATION: usize = 6;

/// Stands for words that quoted a secret.
const WITHHELD: &str = "(withheld: it quotes what was sent)";

/// The remote's description of an error as one printable line; withheld as a whole where it quotes any of `secrets`.
pub(super) fn description(text: &str, secrets: &[SecretBytes]) -> String {
    if quotes(text, secrets) {
        return WITHHELD.to_owned();
    }
    let mut line = String::new();
    let mut length = 0;
    for word in text.split(|c: char| c.is_whitespace() || c.is_control() || is_invisible(c)).filter(|w| !w.is_empty()) {
        for c in (length > 0).then_some(' ').into_iter().chain(word.chars()) {
            if length == LONGEST_DESCRIPTION {
                line.push('…');
                return line;
            }
            line.push(c);
            length += 1;
        }
    }
    line
}

/// The remote's code of an error: a word, or nothing where it is none.
pub(super) fn code(text: &str, secrets: &[SecretBytes]) -> String {
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ' ');
    if text.len() > LONGEST_CODE || !text.chars().all(word) || quotes(text, secrets) {
        return String::new();
    }
    text.to_owned()
}

/// Marks that turn text around or hide it, so that a line would not read as it is.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// Whether text holds a piece of any of the secrets. A secret shorter than a quotation is looked for as a whole.
fn quotes(text: &str, secrets: &[SecretBytes]) -> bool {
    secrets.iter().filter(|secret| !secret.is_empty()).any(|secret| {
        let secret = secret.as_slice();
        let pieces: std::collections::HashSet<&[u8]> = text.as_bytes().windows(QUOTATION.min(secret.len())).collect();
        secret.windows(QUOTATION.min(secret.len())).any(|piece| pieces.contains(piece))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> SecretBytes {
        SecretBytes::from(text.as_bytes().to_vec())
    }

    #[test]
    fn descriptions_are_one_printable_line() {
        assert_eq!(description(" a\r\n\tb\u{1b}[31m c\u{202e}d ", &[]), "a b [31m c d");
        assert_eq!(description("", &[]), "");
        let long = description(&"é".repeat(1000), &[]);
        assert_eq!(long.chars().count(), LONGEST_DESCRIPTION + 1);
        assert_eq!(description(&"x".repeat(LONGEST_DESCRIPTION), &[]).len(), LONGEST_DESCRIPTION);
    }

    #[test]
    fn words_that_quote_a_secret_are_withheld() {
        let secrets = [secret("correct horse"), secret("pw"), secret("")];
        let table = [
            ("the value is too large", false),
            ("cannot store correct horse", true),
            ("cannot store …ct hor…", true),
            ("correct", true),
            ("correc", true),
            ("corre ct", false),
            ("bad pw", true),
        ];
        for (text, withheld) in table {
            assert_eq!(description(text, &secrets) == WITHHELD, withheld, "{text}");
        }
        assert_eq!(code("correct horse", &secrets), "");
    }

    #[test]
    fn codes_are_words() {
        assert_eq!(code("not_found", &[]), "not_found");
        assert_eq!(code("Not Found", &[]), "Not Found");
        assert_eq!(code("a\nb", &[]), "");
        assert_eq!(code(&"x".repeat(65), &[]), "");
    }
}
