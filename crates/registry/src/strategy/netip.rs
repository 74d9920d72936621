//! IP addresses and prefixes as Go's package `net/netip` parses them, with its error texts, which
//! clients see in refusals.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Parses an address.
///
/// # Errors
/// The text of Go's error.
pub(super) fn parse_address(text: &str) -> Result<IpAddr, String> {
    let fault = |message: &str| format!("ParseAddr({text:?}): {message}");
    match text.find(['.', ':', '%']).map(|place| &text[place..=place]) {
        Some(".") => parse_v4(text).map(IpAddr::V4).map_err(|why| fault(&why)),
        Some(":") => {
            let parsed = text.parse::<Ipv6Addr>();
            parsed.map(IpAddr::V6).map_err(|_| fault(&v6_fault(text)))
        }
        Some(_) => Err(fault("missing IPv6 address")),
        None => Err(fault("unable to parse IP")),
    }
}

fn parse_v4(text: &str) -> Result<Ipv4Addr, String> {
    let bytes = text.as_bytes();
    let mut octets = [0_u8; 4];
    let (mut value, mut digits, mut place) = (0_u16, 0, 0);
    for (index, byte) in bytes.iter().enumerate() {
        let rest = || format!(" (at {:?})", text.get(index..).unwrap_or_default());
        match byte {
            b'0'..=b'9' => {
                if digits == 1 && value == 0 {
                    return Err("IPv4 field has octet with leading zero".to_owned());
                }
                value = value * 10 + u16::from(byte - b'0');
                digits += 1;
                if value > 255 {
                    return Err("IPv4 field has value >255".to_owned());
                }
            }
            b'.' => {
                if index == 0 || index + 1 == bytes.len() || bytes[index - 1] == b'.' {
                    let message = "IPv4 field must have at least one digit";
                    return Err(format!("{message}{}", rest()));
                }
                if place == 3 {
                    return Err("IPv4 address too long".to_owned());
                }
                octets[place] = u8::try_from(value).unwrap_or(u8::MAX);
                (value, digits, place) = (0, 0, place + 1);
            }
            _ => return Err(format!("unexpected character{}", rest())),
        }
    }
    if place < 3 {
        return Err("IPv4 address too short".to_owned());
    }
    octets[3] = u8::try_from(value).unwrap_or(u8::MAX);
    Ok(Ipv4Addr::from(octets))
}

/// Returns the text for an invalid address with colons.
fn v6_fault(text: &str) -> String {
    let is_digit = |c: char| c.is_ascii_hexdigit();
    let mut rest = text;
    let mut groups = 0;
    let mut shortened = false;
    if let Some(after) = rest.strip_prefix("::") {
        (rest, shortened) = (after, true);
    }
    while !rest.is_empty() && groups < 8 {
        let end = rest.find(|c| !is_digit(c)).unwrap_or(rest.len());
        let after = &rest[end..];
        if end > 4 {
            return format!("each group must have 4 or less digits (at {rest:?})");
        }
        if end == 0 {
            let message = "each colon-separated field must have at least one digit";
            return format!("{message} (at {rest:?})");
        }
        if after.starts_with('.') {
            let message = "embedded IPv4 address must replace the final 2 fields of the address";
            return match parse_v4(rest) {
                Err(fault) => fault,
                Ok(_) => format!("{message} (at {rest:?})"),
            };
        }
        groups += 1;
        let Some(next) = after.strip_prefix(':') else {
            if after.is_empty() {
                rest = after;
                break;
            }
            return format!("unexpected character, want colon (at {after:?})");
        };
        if next.is_empty() {
            return format!("colon must be followed by more characters (at {after:?})");
        }
        rest = next;
        if let Some(next) = rest.strip_prefix(':') {
            if shortened {
                return format!("multiple :: in address (at {rest:?})");
            }
            (rest, shortened) = (next, true);
        }
    }
    if !rest.is_empty() {
        return format!("trailing garbage after address (at {rest:?})");
    }
    if groups < 8 && !shortened {
        return "address string too short".to_owned();
    }
    "the :: must expand to at least one field of zeros".to_owned()
}

/// An address with the length of its network part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Prefix {
    pub(super) address: IpAddr,
    bits: u32,
}

impl Prefix {
    /// Parses a prefix.
    ///
    /// # Errors
    /// The text of Go's error.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let fault = |message: String| format!("netip.ParsePrefix({text:?}): {message}");
        let Some((address, bits)) = text.rsplit_once('/') else {
            return Err(fault("no '/'".to_owned()));
        };
        let address = parse_address(address).map_err(fault)?;
        let is_number = !bits.is_empty()
            && bits.bytes().all(|byte| byte.is_ascii_digit())
            && (bits.len() == 1 || !bits.starts_with('0'));
        let Some(bits_number) = bits.parse::<u32>().ok().filter(|_| is_number) else {
            return Err(fault(format!("bad bits after slash: {bits:?}")));
        };
        let most = if address.is_ipv4() { 32 } else { 128 };
        if bits_number > most {
            return Err(fault("prefix length out of range".to_owned()));
        }
        Ok(Self {
            address,
            bits: bits_number,
        })
    }

    /// Returns true when no bit is set beyond the network part.
    pub(super) fn is_network(self) -> bool {
        match self.address {
            IpAddr::V4(address) => {
                let host = u32::MAX.checked_shr(self.bits).unwrap_or(0);
                u32::from(address) & host == 0
            }
            IpAddr::V6(address) => {
                let host = u128::MAX.checked_shr(self.bits).unwrap_or(0);
                u128::from(address) & host == 0
            }
        }
    }
}

impl std::fmt::Display for Prefix {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}/{}", self.address, self.bits)
    }
}

/// Validates the name of an IPAddress object: an address in canonical form.
pub(crate) fn address_name(name: &str) -> Vec<String> {
    match parse_address(name) {
        Err(fault) => vec![fault],
        Ok(address) if address.to_string() != name => {
            vec!["must be a canonical format IP address".to_owned()]
        }
        Ok(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_addresses_are_canonical() {
        const CANONICAL: &str = "must be a canonical format IP address";
        let cases = [
            ("10.0.0.1", ""),
            ("2001:db8::1", ""),
            ("::ffff:1.2.3.4", ""),
            ("2001:DB8::1", CANONICAL),
            ("2001:db8:0:0::1", CANONICAL),
            ("2001:db8::0001", CANONICAL),
            ("name", "ParseAddr(\"name\"): unable to parse IP"),
            (
                "10.0.0.01",
                "ParseAddr(\"10.0.0.01\"): IPv4 field has octet with leading zero",
            ),
            (
                "10.0.0.256",
                "ParseAddr(\"10.0.0.256\"): IPv4 field has value >255",
            ),
            ("10.0.0", "ParseAddr(\"10.0.0\"): IPv4 address too short"),
            (
                "1.2.3.4.5",
                "ParseAddr(\"1.2.3.4.5\"): IPv4 address too long",
            ),
            (
                "1..2.3",
                "ParseAddr(\"1..2.3\"): IPv4 field must have at least one digit (at \".2.3\")",
            ),
            (
                "1.2.3.x",
                "ParseAddr(\"1.2.3.x\"): unexpected character (at \"x\")",
            ),
            ("1:2:3", "ParseAddr(\"1:2:3\"): address string too short"),
            (
                "2001:db8::12345",
                "ParseAddr(\"2001:db8::12345\"): each group must have 4 or less digits (at \
                 \"12345\")",
            ),
            (
                "2001:db8:x::1",
                "ParseAddr(\"2001:db8:x::1\"): each colon-separated field must have at least one \
                 digit (at \"x::1\")",
            ),
            (
                "1::2::3",
                "ParseAddr(\"1::2::3\"): multiple :: in address (at \":3\")",
            ),
        ];
        for (name, fault) in cases {
            let faults = address_name(name);
            assert_eq!(faults.first().map_or("", String::as_str), fault, "{name}");
        }
    }

    #[test]
    fn prefixes_are_parsed_as_in_go() {
        let cases = [
            ("10.0.0.0/8", Ok(true)),
            ("10.0.0.1/8", Ok(false)),
            ("2001:db8::/64", Ok(true)),
            ("2001:db8::1/64", Ok(false)),
            ("0.0.0.0/0", Ok(true)),
            ("10.0.0.0", Err("netip.ParsePrefix(\"10.0.0.0\"): no '/'")),
            (
                "10.0.0.0/33",
                Err("netip.ParsePrefix(\"10.0.0.0/33\"): prefix length out of range"),
            ),
            (
                "10.0.0.0/08",
                Err("netip.ParsePrefix(\"10.0.0.0/08\"): bad bits after slash: \"08\""),
            ),
            (
                "x/8",
                Err("netip.ParsePrefix(\"x/8\"): ParseAddr(\"x\"): unable to parse IP"),
            ),
        ];
        for (text, expected) in cases {
            let parsed = Prefix::parse(text).map(Prefix::is_network);
            assert_eq!(parsed, expected.map_err(str::to_owned), "{text}");
        }
    }
}
