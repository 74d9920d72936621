//! Fields that hold a number or a percentage, for example `maxUnavailable`.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// The number that a field stands for, where a percentage is a share of `of`. Validation lets no
/// other strings pass; they count as 0.
pub(crate) fn scaled(value: &IntOrString, of: i32, round_up: bool) -> i32 {
    match value {
        IntOrString::Int(number) => *number,
        IntOrString::String(text) => {
            let percent: i64 = text
                .strip_suffix('%')
                .and_then(|number| number.parse().ok())
                .unwrap_or_default();
            let hundredfold = i64::from(of) * percent + if round_up { 99 } else { 0 };
            i32::try_from(hundredfold.div_euclid(100)).unwrap_or(i32::MAX)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentage_is_rounded_as_asked_and_a_number_stands_for_itself() {
        let percent = |text: &str| IntOrString::String(text.to_owned());
        for (value, of, down, up) in [
            (percent("25%"), 10, 2, 3),
            (percent("50%"), 10, 5, 5),
            (percent("0%"), 10, 0, 0),
            (percent("100%"), 7, 7, 7),
            (percent("ten"), 10, 0, 0),
            (IntOrString::Int(12), 10, 12, 12),
        ] {
            assert_eq!(scaled(&value, of, false), down, "{value:?} of {of}");
            assert_eq!(scaled(&value, of, true), up, "{value:?} of {of}");
        }
    }
}
