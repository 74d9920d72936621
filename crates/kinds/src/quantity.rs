//! Quantities of resources (`500m`, `1Gi`, `12e6`): parsing, canonical form, arithmetic.
//!
//! A quantity is an exact decimal number with the notation in which it was written: `1Gi` is
//! formatted in powers of two again and `1G` in powers of ten. Fractions below a nano unit are
//! rounded away from zero, so that a small request never becomes none.
//!
//! Data flow: string → [`parse`](Quantity::parse) → [`Quantity`] → `Display`. Codecs need only
//! [`canonical`]. This module knows no resource names.

use std::cmp::Ordering;
use std::fmt;

/// The smallest power of ten that is kept (nano).
const SMALLEST_EXPONENT: i32 = -9;
/// Significant digits that are kept of a decimal number; the rest is rounded up. `i128` holds 38.
const DECIMAL_DIGITS: usize = 37;
/// Significant digits that are kept of a number with a binary suffix: 10^20 * 2^60 still fits into
/// `i128`.
const BINARY_DIGITS: usize = 20;
/// Limit of exponents, so that absurd ones (`1e999999999999`) cost nothing.
const LARGEST_EXPONENT: i32 = 1_000_000;

/// Why a string is not a quantity. The messages are the API's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// The string does not have the form of a quantity.
    #[error(
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
    )]
    Format,
    /// The characters after the number are not a suffix.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

/// The notation of a quantity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Decimal suffixes: `n`, `u`, `m`, none, `k`, `M`, `G`, `T`, `P`, `E`.
    #[default]
    DecimalSi,
    /// Binary suffixes: `Ki`, `Mi`, `Gi`, `Ti`, `Pi`, `Ei`.
    BinarySi,
    /// An exponent: `12e6`.
    DecimalExponent,
}

/// An amount, `mantissa * 10^exponent`, and its notation. Equality and order compare the amount
/// alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quantity {
    /// Has no trailing zeros; 0 only with exponent 0.
    mantissa: i128,
    exponent: i32,
    format: Format,
}

/// Returns the form in which the API returns a quantity. It is canonical, except that upstream
/// keeps some strings that are almost canonical (`1.500`, `+5`).
///
/// # Errors
/// [`QuantityError`] if the string is not a quantity.
pub fn canonical(text: &str) -> Result<String, QuantityError> {
    let text = text.trim();
    let split = QuantityText::split(text)?;
    let (scale, format) = split.suffix()?;
    if split.is_kept_as_written(scale, format) {
        return Ok(text.to_owned());
    }
    Ok(split.amount(scale, format).to_string())
}

impl Quantity {
    /// Parses a quantity.
    ///
    /// # Errors
    /// [`QuantityError`] if the string is not a quantity.
    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        let split = QuantityText::split(text)?;
        let (scale, format) = split.suffix()?;
        Ok(split.amount(scale, format))
    }

    /// Creates a quantity of whole units.
    #[must_use]
    pub fn new(units: i64, format: Format) -> Self {
        Self::normal(i128::from(units), 0, format)
    }

    /// Creates a quantity of thousandths.
    #[must_use]
    pub fn from_milli(thousandths: i64, format: Format) -> Self {
        Self::normal(i128::from(thousandths), -3, format)
    }

    /// Returns the amount in units, rounded away from zero. Amounts beyond `i64` saturate.
    #[must_use]
    pub fn value(self) -> i64 {
        self.scaled(0)
    }

    /// Returns the amount in thousandths, rounded away from zero. Amounts beyond `i64` saturate.
    #[must_use]
    pub fn milli_value(self) -> i64 {
        self.scaled(-3)
    }

    /// Returns the notation.
    #[must_use]
    pub fn format(self) -> Format {
        self.format
    }

    /// Returns whether the amount is zero.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self.mantissa == 0
    }

    /// Returns whether the amount is negative.
    #[must_use]
    pub fn is_negative(self) -> bool {
        self.mantissa < 0
    }

    /// Rounds away from zero to thousandths, the precision of resource lists.
    #[must_use]
    pub fn rounded_up_to_milli(self) -> Self {
        if self.exponent >= -3 {
            return self;
        }
        let (mantissa, _) = divide_away_from_zero(self.mantissa, -3 - self.exponent);
        Self::normal(mantissa, -3, self.format)
    }

    /// Returns whether the amount is a whole number of units.
    #[must_use]
    pub fn is_whole(self) -> bool {
        self.exponent >= 0
    }

    /// Normalises a number: no trailing zeros, nothing below a nano unit.
    fn normal(mut mantissa: i128, mut exponent: i32, format: Format) -> Self {
        if exponent < SMALLEST_EXPONENT {
            (mantissa, _) =
                divide_away_from_zero(mantissa, SMALLEST_EXPONENT.saturating_sub(exponent));
            exponent = SMALLEST_EXPONENT;
        }
        if mantissa == 0 {
            return Self {
                mantissa: 0,
                exponent: 0,
                format,
            };
        }
        while mantissa % 10 == 0 {
            mantissa /= 10;
            exponent += 1;
        }
        Self {
            mantissa,
            exponent,
            format,
        }
    }

    /// Returns the amount in units of `10^exponent`, rounded away from zero.
    fn scaled(self, exponent: i32) -> i64 {
        let shift = self.exponent - exponent;
        let amount = if shift < 0 {
            divide_away_from_zero(self.mantissa, -shift).0
        } else {
            multiply(self.mantissa, shift).unwrap_or(if self.mantissa < 0 {
                i128::MIN
            } else {
                i128::MAX
            })
        };
        i64::try_from(amount).unwrap_or(if amount < 0 { i64::MIN } else { i64::MAX })
    }

    /// Returns both mantissas for the smaller of the two exponents; `None` if the exponents are too
    /// far apart.
    fn aligned(self, other: Self) -> Option<(i128, i128, i32)> {
        // Zero has no magnitude.
        if self.is_zero() {
            return Some((0, other.mantissa, other.exponent));
        }
        if other.is_zero() {
            return Some((self.mantissa, 0, self.exponent));
        }
        let exponent = self.exponent.min(other.exponent);
        let left = multiply(self.mantissa, self.exponent - exponent)?;
        let right = multiply(other.mantissa, other.exponent - exponent)?;
        Some((left, right, exponent))
    }

    fn combine(
        self,
        other: Self,
        operation: fn(i128, i128) -> Option<i128>,
        larger: impl Fn(Self, Self) -> Self,
    ) -> Self {
        // A sum with zero takes the notation of the other operand, as upstream does.
        let format = if self.is_zero() {
            other.format
        } else {
            self.format
        };
        let sum = self
            .aligned(other)
            .and_then(|(left, right, exponent)| Some((operation(left, right)?, exponent)));
        match sum {
            Some((mantissa, exponent)) => Self::normal(mantissa, exponent, format),
            // The exponents differ by more than 38 digits: the smaller operand does not change the
            // sum.
            None => Self {
                format,
                ..larger(self, other)
            },
        }
    }

    /// Returns `-amount`.
    fn negated(self) -> Self {
        Self {
            mantissa: -self.mantissa,
            ..self
        }
    }

    /// Returns the decimal exponent of the first digit, for comparing numbers that are far apart.
    fn magnitude(self) -> i64 {
        i64::from(self.mantissa.unsigned_abs().checked_ilog10().unwrap_or(0))
            + i64::from(self.exponent)
    }

    /// Writes number and suffix in powers of ten; the exponent is a multiple of three.
    fn write_decimal(self, out: &mut fmt::Formatter<'_>, format: Format) -> fmt::Result {
        let spare = self.exponent.rem_euclid(3);
        let exponent = self.exponent - spare;
        write!(out, "{}", self.mantissa)?;
        //  `120` has the mantissa 12 and the exponent 1: zeros make the exponent a multiple of
        // three.
        (0..spare).try_for_each(|_| out.write_str("0"))?;
        let suffix = DECIMAL_SUFFIXES
            .iter()
            .find(|(_, power)| *power == exponent);
        match suffix {
            Some((suffix, _)) if format == Format::DecimalSi => out.write_str(suffix),
            _ if exponent == 0 => Ok(()),
            _ => write!(out, "e{exponent}"),
        }
    }
}

impl std::ops::Add for Quantity {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let larger = |left: Self, right: Self| {
            if left.magnitude() >= right.magnitude() {
                left
            } else {
                right
            }
        };
        self.combine(other, i128::checked_add, larger)
    }
}

impl std::ops::Sub for Quantity {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        let larger = |left: Self, right: Self| {
            if left.magnitude() >= right.magnitude() {
                left
            } else {
                right.negated()
            }
        };
        self.combine(other, i128::checked_sub, larger)
    }
}

impl std::ops::AddAssign for Quantity {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl std::ops::SubAssign for Quantity {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.mantissa == other.mantissa && self.exponent == other.exponent
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        // The sign decides first, so that magnitudes are compared between numbers of one sign only.
        let by_sign = self.mantissa.signum().cmp(&other.mantissa.signum());
        if by_sign != Ordering::Equal {
            return by_sign;
        }
        match self.aligned(*other) {
            Some((left, right, _)) => left.cmp(&right),
            // The exponents are too far apart to align: the first digits decide.
            None if self.mantissa > 0 => self.magnitude().cmp(&other.magnitude()),
            None => other.magnitude().cmp(&self.magnitude()),
        }
    }
}

impl std::str::FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        Self::parse(text)
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_zero() {
            return out.write_str("0");
        }
        let limit = Self::new(1024, Format::BinarySi);
        let is_small = *self > limit.negated() && *self < limit;
        let whole = multiply(self.mantissa, self.exponent).filter(|_| self.exponent >= 0);
        match (self.format, whole) {
            // Amounts below 1024 and fractions would lose precision in powers of two.
            (Format::BinarySi, Some(whole)) if !is_small => write_binary(out, whole),
            (Format::BinarySi, _) => self.write_decimal(out, Format::DecimalSi),
            (format, _) => self.write_decimal(out, format),
        }
    }
}

const DECIMAL_SUFFIXES: [(&str, i32); 10] = [
    ("n", -9),
    ("u", -6),
    ("m", -3),
    ("", 0),
    ("k", 3),
    ("M", 6),
    ("G", 9),
    ("T", 12),
    ("P", 15),
    ("E", 18),
];
const BINARY_SUFFIXES: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

fn write_binary(out: &mut fmt::Formatter<'_>, mut whole: i128) -> fmt::Result {
    let mut power = 0;
    while whole % 1024 == 0 && power + 1 < BINARY_SUFFIXES.len() {
        whole /= 1024;
        power += 1;
    }
    write!(out, "{whole}{}", BINARY_SUFFIXES[power])
}

/// Returns `number / 10^digits`, rounded away from zero, and whether the division was exact.
fn divide_away_from_zero(number: i128, digits: i32) -> (i128, bool) {
    let divisor = u32::try_from(digits)
        .ok()
        .and_then(|digits| 10_i128.checked_pow(digits));
    let Some(divisor) = divisor else {
        return (number.signum(), number == 0);
    };
    let rest = number % divisor;
    (number / divisor + rest.signum(), rest == 0)
}

/// Returns `number * 10^digits`; `None` if it does not fit. A negative count multiplies by one.
fn multiply(number: i128, digits: i32) -> Option<i128> {
    10_i128
        .checked_pow(u32::try_from(digits).unwrap_or(0))
        .and_then(|factor| number.checked_mul(factor))
}

/// The power of ten or two that a suffix stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scale {
    Ten(i64),
    Two(u32),
}

/// The parts of a quantity's string.
struct QuantityText<'a> {
    negative: bool,
    /// Digits before the point, without leading zeros; `0` for an empty sequence.
    whole: &'a str,
    /// Digits after the point.
    fraction: &'a str,
    suffix: &'a str,
}

impl<'a> QuantityText<'a> {
    fn split(text: &'a str) -> Result<Self, QuantityError> {
        if text.is_empty() {
            return Err(QuantityError::Format);
        }
        let (negative, rest) = match text.as_bytes()[0] {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let (whole, rest) = take(rest, |byte| byte.is_ascii_digit());
        // Upstream drops leading zeros before it checks the form.
        let whole = whole.trim_start_matches('0');
        let whole = if whole.is_empty() { "0" } else { whole };
        let (fraction, suffix) = match rest.strip_prefix('.') {
            Some(rest) => take(rest, |byte| byte.is_ascii_digit()),
            None => ("", rest),
        };
        let (_, tail) = take(suffix, |byte| b"eEinumkKMGTP".contains(&byte));
        // This check is as loose as the regular expression in the message; `suffix` is strict.
        let tail = tail.strip_prefix(['-', '+']).unwrap_or(tail);
        if !tail.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(QuantityError::Format);
        }
        Ok(Self {
            negative,
            whole,
            fraction,
            suffix,
        })
    }

    fn suffix(&self) -> Result<(Scale, Format), QuantityError> {
        // Suffixes come before exponents: `1E` is an exa, `1E3` an exponent.
        if let Some((_, power)) = DECIMAL_SUFFIXES
            .iter()
            .find(|(suffix, _)| *suffix == self.suffix)
        {
            return Ok((Scale::Ten(i64::from(*power)), Format::DecimalSi));
        }
        let binary = (1_u32..)
            .zip(&BINARY_SUFFIXES[1..])
            .find(|(_, suffix)| **suffix == self.suffix);
        if let Some((power, _)) = binary {
            return Ok((Scale::Two(power * 10), Format::BinarySi));
        }
        let exponent = self
            .suffix
            .strip_prefix(['e', 'E'])
            .ok_or(QuantityError::Suffix)?;
        let exponent: i64 = exponent.parse().map_err(|_| QuantityError::Suffix)?;
        Ok((
            Scale::Ten(exponent.clamp(-i64::from(LARGEST_EXPONENT), i64::from(LARGEST_EXPONENT))),
            Format::DecimalExponent,
        ))
    }

    /// Returns whether upstream keeps the string as it was written: its quick check takes it for
    /// canonical.
    fn is_kept_as_written(&self, scale: Scale, format: Format) -> bool {
        let digits = self.whole.len() + self.fraction.len();
        match scale {
            Scale::Two(power) => {
                // Upstream estimates the precision so, and not by the number of digits.
                let precision = 15
                    - i64::try_from(self.whole.len()).unwrap_or(i64::MAX)
                    - i64::from(power) * 3 / 10
                    - 1;
                // Upstream asks whether dividing by a power of two could shorten the number.
                let low_bits = self.whole.parse::<i64>().map_or(0, |whole| whole & 7);
                self.fraction.is_empty() && precision >= 0 && low_bits != 0
            }
            Scale::Ten(power) => {
                let scale = power - i64::try_from(self.fraction.len()).unwrap_or(i64::MAX);
                let ends_in_zeros = format!("{}{}", self.whole, self.fraction).ends_with("000");
                format != Format::BinarySi
                    && digits <= 18
                    && scale >= i64::from(SMALLEST_EXPONENT)
                    && scale % 3 == 0
                    && !ends_in_zeros
                    && !self.whole.starts_with('0')
            }
        }
    }

    fn amount(&self, scale: Scale, format: Format) -> Quantity {
        let limit = if format == Format::BinarySi {
            BINARY_DIGITS
        } else {
            DECIMAL_DIGITS
        };
        let (mantissa, exponent) = self.number(limit);
        let (mantissa, exponent) = match scale {
            Scale::Ten(power) => (mantissa, exponent.saturating_add(power)),
            Scale::Two(power) => (mantissa << power, exponent),
        };
        let exponent =
            i32::try_from(exponent).unwrap_or(if exponent < 0 { i32::MIN } else { i32::MAX });
        let mut amount = Quantity::normal(mantissa, exponent, format);
        // Trailing zeros of the mantissa moved into the exponent. The formatted string must parse
        // to the same amount.
        amount.exponent = amount.exponent.min(LARGEST_EXPONENT);
        // Upstream caps binary quantities at 2^63 - 1.
        let most = Quantity::new(i64::MAX, format);
        let amount = if format == Format::BinarySi && amount > most {
            most
        } else {
            amount
        };
        if self.negative {
            amount.negated()
        } else {
            amount
        }
    }

    /// Returns the digits as a number, and the power of ten of the last digit. Digits beyond
    /// `limit` round the number up.
    fn number(&self, limit: usize) -> (i128, i64) {
        let fraction_digits = i64::try_from(self.fraction.len()).unwrap_or(i64::MAX);
        let digits = format!("{}{}", self.whole, self.fraction);
        let digits = digits.trim_start_matches('0');
        let (kept, cut) = digits.split_at(digits.len().min(limit));
        let rest_is_zero = cut.bytes().all(|digit| digit == b'0');
        let kept: i128 = kept.parse().unwrap_or(0);
        let exponent = i64::try_from(cut.len()).unwrap_or(i64::MAX) - fraction_digits;
        // Rounding up keeps a tiny request from becoming none.
        (kept + i128::from(!rest_is_zero), exponent)
    }
}

/// Returns the longest prefix of bytes that `wanted` accepts, and the rest.
fn take(text: &str, wanted: impl Fn(u8) -> bool) -> (&str, &str) {
    let end = text
        .bytes()
        .position(|byte| !wanted(byte))
        .unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests;
