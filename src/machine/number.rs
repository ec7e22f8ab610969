//! Decimal numbers as text: equality by value, whatever their length.
//!
//! Knows the number syntax of JSON (RFC 8259, section 6) and nothing else. Never rounds.

/// Whether two JSON numbers have the same value.
pub(super) fn equal_numbers(left: &str, right: &str) -> bool {
    left == right || matches!((Decimal::read(left), Decimal::read(right)), (Some(left), Some(right)) if left == right)
}

/// A number as `0.digits × 10^exponent`, its digits without zeros at either end; zero has no digits.
#[derive(PartialEq, Eq)]
struct Decimal {
    negative: bool,
    digits: Vec<u8>,
    exponent: i64,
}

impl Decimal {
    /// Reads a JSON number; `None` where its exponent does not fit 32 bits.
    fn read(text: &str) -> Option<Self> {
        let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
        let leading = digits.iter().take_while(|digit| **digit == b'0').count();
        let end = digits.iter().rposition(|digit| *digit != b'0').map_or(leading, |last| last + 1);
        let digits = digits.get(leading..end)?.to_vec();
        if digits.is_empty() {
            return Some(Self { negative: false, digits, exponent: 0 });
        }
        let shift = i64::try_from(whole.len()).ok()? - i64::try_from(leading).ok()?;
        let exponent = i64::from(exponent.parse::<i32>().ok()?) + shift;
        Some(Self { negative, digits, exponent })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_equal_by_value_and_differ_in_the_last_digit() {
        for (left, right) in [("1", "1.0"), ("10", "1e1"), ("0.01", "1E-2"), ("-0", "0.0"), ("1.50", "15e-1")] {
            assert!(equal_numbers(left, right), "{left} {right}");
        }
        let differ = [("1", "-1"), ("1", "10"), ("0.1", "0.01"), ("12345678901234567890", "12345678901234567891")];
        for (left, right) in differ {
            assert!(!equal_numbers(left, right), "{left} {right}");
        }
    }
}
