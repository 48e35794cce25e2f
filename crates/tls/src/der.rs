//! The two facts of a certificate that the library of TLS does not tell: its validity, and its subject's
//! name. A reader of these alone is shorter than the dozen crates of a whole one.

use chrono::{DateTime, NaiveDateTime, Utc};

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const INTEGER: u8 = 0x02;
const OBJECT: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const VERSION: u8 = 0xa0;
/// Kinds of strings of which every byte is UTF-8: UTF8String, PrintableString and IA5String.
const STRINGS: [u8; 3] = [0x0c, 0x13, 0x16];
/// 2.5.4.3
const COMMON_NAME: [u8; 3] = [0x55, 0x04, 0x03];

/// What is read of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) not_before: DateTime<Utc>,
    pub(crate) not_after: DateTime<Utc>,
    /// The first common name of the subject.
    pub(crate) common_name: Option<String>,
}

impl Facts {
    /// Reads a certificate in DER; none if it is not one.
    pub(crate) fn read(certificate: &[u8]) -> Option<Self> {
        let mut whole = Reader(certificate);
        let mut outer = Reader(whole.expect(SEQUENCE)?);
        // RFC 5280, 4.1: version, serial, signature, issuer, validity, subject, …
        let mut body = Reader(outer.expect(SEQUENCE)?);
        if body.peek() == Some(VERSION) {
            body.next()?;
        }
        body.expect(INTEGER)?;
        body.expect(SEQUENCE)?;
        body.expect(SEQUENCE)?;
        let mut validity = Reader(body.expect(SEQUENCE)?);
        let (not_before, not_after) = (validity.time()?, validity.time()?);
        let subject = body.expect(SEQUENCE)?;
        Some(Self {
            not_before,
            not_after,
            common_name: common_name(subject),
        })
    }
}

fn common_name(subject: &[u8]) -> Option<String> {
    let mut sets = Reader(subject);
    while let Some(set) = sets.expect(SET) {
        let mut pairs = Reader(set);
        while let Some(pair) = pairs.expect(SEQUENCE) {
            let mut pair = Reader(pair);
            if pair.expect(OBJECT)? == COMMON_NAME {
                let (tag, value) = pair.next()?;
                let is_text = STRINGS.contains(&tag);
                return is_text.then(|| String::from_utf8(value.to_vec()).ok())?;
            }
        }
    }
    None
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// The next value, and its tag.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&[tag, length], rest) = self.0.split_first_chunk()?;
        let (length, rest) = if length < 0x80 {
            (usize::from(length), rest)
        } else {
            // Four bytes say more than any file that is read.
            let digits = usize::from(length & 0x7f);
            if digits == 0 || digits > 4 {
                return None;
            }
            let (digits, rest) = rest.split_at_checked(digits)?;
            let length = digits
                .iter()
                .fold(0_u64, |length, &digit| length << 8 | u64::from(digit));
            (usize::try_from(length).ok()?, rest)
        };
        let (value, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, value))
    }

    fn expect(&mut self, wanted: u8) -> Option<&'a [u8]> {
        let (tag, value) = self.next()?;
        (tag == wanted).then_some(value)
    }

    fn time(&mut self) -> Option<DateTime<Utc>> {
        let (tag, value) = self.next()?;
        let text = std::str::from_utf8(value).ok()?;
        let text = match tag {
            // RFC 5280, 4.1.2.5.1: two digits of a year are those from 1950 to 2049.
            UTC_TIME => match text.get(..2)?.parse::<u8>().ok()? {
                ..50 => format!("20{text}"),
                _ => format!("19{text}"),
            },
            GENERALIZED_TIME => text.to_owned(),
            _ => return None,
        };
        let time = NaiveDateTime::parse_from_str(&text, "%Y%m%d%H%M%SZ").ok()?;
        Some(time.and_utc())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(tag: u8, text: &str) -> Option<String> {
        let mut bytes = vec![tag, text.len() as u8];
        bytes.extend(text.bytes());
        Some(Reader(&bytes).time()?.to_rfc3339())
    }

    #[test]
    fn both_kinds_of_times_are_read() {
        let read = |tag, text| time(tag, text).unwrap();
        assert_eq!(read(UTC_TIME, "261127205900Z"), "2026-11-27T20:59:00+00:00");
        assert_eq!(read(UTC_TIME, "500101000000Z"), "1950-01-01T00:00:00+00:00");
        assert_eq!(
            read(GENERALIZED_TIME, "20500101000000Z"),
            "2050-01-01T00:00:00+00:00"
        );
        for text in ["", "é", "2611272059Z", "261327205900Z", "261127205900"] {
            assert_eq!(time(UTC_TIME, text), None, "{text}");
        }
    }

    #[test]
    fn a_certificate_that_is_cut_off_is_none() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.not_before = rcgen::date_time_ymd(2026, 11, 27);
        params.not_after = rcgen::date_time_ymd(2055, 1, 2);
        params.distinguished_name = rcgen::DistinguishedName::new();
        let dn = &mut params.distinguished_name;
        dn.push(rcgen::DnType::OrganizationName, "a house");
        dn.push(rcgen::DnType::CommonName, "a cat");
        let certificate = params.self_signed(&key).unwrap();
        let facts = Facts::read(certificate.der()).unwrap();
        assert_eq!(facts.not_before.to_rfc3339(), "2026-11-27T00:00:00+00:00");
        assert_eq!(facts.not_after.to_rfc3339(), "2055-01-02T00:00:00+00:00");
        assert_eq!(facts.common_name.as_deref(), Some("a cat"));
        for length in 0..certificate.der().len() {
            assert_eq!(Facts::read(&certificate.der()[..length]), None);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, tag in 0x16_u8..0x1a) {
            let _ = Facts::read(&bytes);
            let _ = common_name(&bytes);
            let mut bytes = bytes;
            bytes.truncate(100);
            let mut value = vec![tag, bytes.len() as u8];
            value.extend(bytes);
            let _ = Reader(&value).time();
        }
    }
}
