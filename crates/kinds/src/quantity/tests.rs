//! Tables of quantities, and properties of their arithmetic.

use proptest::prelude::*;

use super::*;

fn quantity(text: &str) -> Quantity {
    text.parse().unwrap()
}

#[test]
fn canonical_forms_are_those_of_the_api() {
    let table = [
        ("0", "0"),
        ("0Ki", "0"),
        ("-0", "0"),
        ("1", "1"),
        ("1000", "1k"),
        ("1500", "1500"),
        ("10000", "10k"),
        ("0.5", "500m"),
        ("1.5", "1500m"),
        ("100m", "100m"),
        ("1000m", "1"),
        ("0.1", "100m"),
        ("1024", "1024"),
        ("1024Mi", "1Gi"),
        ("1025Mi", "1025Mi"),
        ("1024Ki", "1Mi"),
        ("0.5Gi", "512Mi"),
        ("1.5Gi", "1536Mi"),
        ("512Ki", "512Ki"),
        ("0.5Ki", "512"),
        ("0.25Mi", "256Ki"),
        ("1e3", "1e3"),
        ("1000e3", "1e6"),
        ("1E3", "1E3"),
        ("12e6", "12e6"),
        ("100e1", "1e3"),
        ("1e-3", "1e-3"),
        ("1n", "1n"),
        ("0.1n", "1n"),
        ("1e-12", "1e-9"),
        ("-1.1", "-1100m"),
        ("-0.0000000001", "-1n"),
        ("5M", "5M"),
        ("1E", "1E"),
        ("1000E", "1e21"),
        ("9Ei", "9223372036854775807"),
        ("  7 ", "7"),
        // Kept as written, although there is a shorter form.
        ("1.500", "1.500"),
        ("+5", "+5"),
        ("0001", "0001"),
        (
            "123456789012345678901234567890",
            "123456789012345678901234567890",
        ),
        (".5", "500m"),
        ("5.", "5."),
        ("k", "0"),
    ];
    for (written, shown) in table {
        assert_eq!(canonical(written).as_deref(), Ok(shown), "{written}");
    }
}

#[test]
fn invalid_quantities_are_rejected_with_the_messages_of_the_api() {
    for text in ["", "1.2.3", "aoeu", "1 ", "-3.01e-x", "ten", "1k ", "é"] {
        assert_eq!(Quantity::parse(text), Err(QuantityError::Format), "{text}");
    }
    for text in [
        "1i",
        "1e",
        "0.1mi",
        "1K",
        "1kk",
        "1m5",
        "1ei",
        "-3.01i",
        "1+1",
        "1e99999999999999999999",
    ] {
        assert_eq!(Quantity::parse(text), Err(QuantityError::Suffix), "{text}");
    }
    assert_eq!(
        QuantityError::Suffix.to_string(),
        "unable to parse quantity's suffix"
    );
}

#[test]
fn values_are_rounded_away_from_zero() {
    let table = [
        ("1.1", 2, 1100),
        ("-1.1", -2, -1100),
        ("1n", 1, 1),
        ("2Ki", 2048, 2_048_000),
        ("0", 0, 0),
        ("1500m", 2, 1500),
    ];
    for (text, value, milli) in table {
        assert_eq!(
            (quantity(text).value(), quantity(text).milli_value()),
            (value, milli),
            "{text}"
        );
    }
    assert_eq!(quantity("1e30").value(), i64::MAX);
    assert_eq!(quantity("-1e300").milli_value(), i64::MIN);
    assert_eq!(quantity("1u").rounded_up_to_milli().to_string(), "1m");
    assert_eq!(quantity("-1u").rounded_up_to_milli().to_string(), "-1m");
}

#[test]
fn sums_keep_the_notation_of_the_first_operand() {
    assert_eq!((quantity("1Gi") + quantity("512Mi")).to_string(), "1536Mi");
    assert_eq!((quantity("0") + quantity("512Mi")).to_string(), "512Mi");
    assert_eq!((quantity("2") - quantity("500m")).to_string(), "1500m");
    assert_eq!((quantity("1Mi") - quantity("1M")).to_string(), "48576");
    assert_eq!((quantity("1e500") + quantity("1")).to_string(), "100e498");
    assert_eq!((quantity("1") - quantity("1e500")).to_string(), "-100e498");
}

#[test]
fn order_is_by_amount_whatever_the_notation() {
    assert_eq!(quantity("1Ki"), quantity("1024"));
    let sorted = [
        "-1e400", "-1", "-1m", "0", "1n", "999m", "1", "1k", "1Ki", "1e400", "2e400",
    ];
    for pair in sorted.windows(2) {
        assert!(quantity(pair[0]) < quantity(pair[1]), "{pair:?}");
    }
}

#[test]
fn absurd_exponents_round_trip() {
    for text in [
        "9999900e+9999999999",
        "1e999999999999",
        "10e1000000",
        "-1000e999999",
    ] {
        let shown = canonical(text).unwrap();
        assert_eq!(canonical(&shown).as_deref(), Ok(shown.as_str()), "{text}");
        assert_eq!(quantity(&shown), quantity(text), "{text}");
    }
}

proptest! {
    #[test]
    fn parsing_never_panics(
        text in "[-+]?[0-9.]{0,45}[eEinumkKMGTP]{0,3}[-+]?[0-9]{0,22}|.{0,12}") {
        if let Ok(parsed) = Quantity::parse(&text) {
            let shown = parsed.to_string();
            prop_assert_eq!(quantity(&shown), parsed, "{}", shown);
            prop_assert_eq!(canonical(&shown), Ok(shown));
            let _ = (parsed + parsed, parsed - parsed, parsed.value(), parsed.milli_value());
        }
    }

    #[test]
    fn arithmetic_agrees_with_whole_numbers(left in -1_000_000_000_i64..1_000_000_000,
        right in -1_000_000_000_i64..1_000_000_000) {
        let (a, b) = (Quantity::from_milli(left, Format::DecimalSi), Quantity::from_milli(right,
            Format::BinarySi));
        prop_assert_eq!((a + b).milli_value(), left + right);
        prop_assert_eq!((a - b).milli_value(), left - right);
        prop_assert_eq!(a.cmp(&b), left.cmp(&right));
        prop_assert_eq!(quantity(&a.to_string()), a);
    }
}
