//! What a status goes on to say of what each process learns by itself, where more than one may write it: each overwrites the other
//! only with news. Who wrote whenever the status differed from what it knows would answer each write of the other with one of its own.

/// What a status is to say: what is known here, where that is not what this process `told` last; else what it `says` already.
pub fn goes_on<T: PartialEq + Clone>(told: &T, known: &T, says: &T) -> T {
    if known == told { says.clone() } else { known.clone() }
}

#[cfg(test)]
mod tests {
    use super::goes_on;

    #[test]
    fn the_rule() {
        for (case, told, known, says, expected) in [
            ("nothing new", 1, 1, 1, 1),
            ("news", 1, 2, 1, 2),
            ("another process said something else", 1, 1, 2, 2),
            ("news, after another process said something else", 1, 3, 2, 3),
            ("news that is said already", 1, 2, 2, 2),
        ] {
            assert_eq!(goes_on(&told, &known, &says), expected, "{case}");
        }
    }

    #[test]
    fn two_who_know_different_things_are_soon_at_rest() {
        let (mut status, known, mut writes) = (0, [1, 2], 0);
        let mut told = [status; 2];
        for pass in 0..10 {
            let at = pass % 2;
            let next = goes_on(&told[at], &known[at], &status);
            writes += usize::from(next != status);
            (status, told[at]) = (next, known[at]);
        }
        assert_eq!((status, writes), (2, 2), "each tells once");
    }
}
