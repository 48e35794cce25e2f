//! PNG files as a row of chunks. Pixels are never decoded, so no picture can be a bomb.
//!
//! ```text
//! signature | length kind data crc | length kind data crc | … | IEND
//! ```
//!
//! A card is a `tEXt` chunk: keyword, a zero byte, base64 of JSON. APNG files are the same.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::error::PersonaError;
use crate::limits::MAX_TEXT_BYTES;

/// The first bytes of every PNG file.
pub(crate) const SIGNATURE: [u8; 8] = *b"\x89PNG\r\n\x1a\n";

/// Keywords under which cards are kept, the better first.
const KEYWORDS: [&str; 2] = ["ccv3", "chara"];

/// Chunks of text, and of notes of cameras: the places where a card or a person's whereabouts hide.
const TEXT_KINDS: [&[u8; 4]; 4] = [b"tEXt", b"zTXt", b"iTXt", b"eXIf"];

/// Some editors leave the padding out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A chunk, where it lies in the file.
pub(crate) struct Chunk<'a> {
    /// Its four letters.
    pub(crate) kind: [u8; 4],
    /// What it holds.
    pub(crate) data: &'a [u8],
    /// All of it: length, kind, data and checksum.
    pub(crate) whole: &'a [u8],
}

/// The chunks up to the last, `IEND`. What follows that is not the picture's.
pub(crate) fn chunks(file: &[u8]) -> Result<Vec<Chunk<'_>>, PersonaError> {
    let broken = |offset: usize, problem: &str| PersonaError::Png {
        offset,
        problem: problem.to_owned(),
    };
    if !file.starts_with(&SIGNATURE) {
        return Err(broken(0, "it does not begin as PNG files do"));
    }
    let mut found = Vec::new();
    let mut offset = SIGNATURE.len();
    loop {
        let rest = &file[offset..];
        let (Some(length), Some(kind)) = (
            rest.first_chunk(),
            rest.get(4..).and_then(<[u8]>::first_chunk),
        ) else {
            return Err(broken(offset, "it ends before its last chunk, IEND"));
        };
        // As wide as a pointer: the sum cannot overflow 64 bits, and a length beyond the file is refused.
        let length = u32::from_be_bytes(*length) as usize;
        let whole = length.checked_add(12).and_then(|whole| rest.get(..whole));
        let Some(whole) = whole else {
            let problem = format!("a chunk states {length} bytes, more than the file has left");
            return Err(broken(offset, &problem));
        };
        found.push(Chunk {
            kind: *kind,
            data: &whole[8..8 + length],
            whole,
        });
        if kind == b"IEND" {
            return Ok(found);
        }
        offset += whole.len();
    }
}

/// The JSON of the card in a PNG file, and the keyword it was under.
pub(crate) fn card(file: &[u8]) -> Result<(Vec<u8>, &'static str), PersonaError> {
    let chunks = chunks(file)?;
    for keyword in KEYWORDS {
        let Some(text) = chunks.iter().find_map(|chunk| text_of(chunk, keyword)) else {
            continue;
        };
        if text.len() / 4 > MAX_TEXT_BYTES / 3 + 1 {
            return Err(PersonaError::TooLarge {
                what: format!("the card in the PNG's chunk `{keyword}`"),
                bytes: text.len() / 4 * 3,
                limit: MAX_TEXT_BYTES,
            });
        }
        let text: Vec<u8> = text
            .iter()
            .copied()
            .filter(|byte| !byte.is_ascii_whitespace())
            .collect();
        let json = BASE64.decode(text).map_err(|error| PersonaError::Base64 {
            chunk: keyword,
            problem: error.to_string(),
        })?;
        return Ok((json, keyword));
    }
    Err(PersonaError::NoCard)
}

/// The text of a `tEXt` chunk with this keyword.
fn text_of<'a>(chunk: &Chunk<'a>, keyword: &str) -> Option<&'a [u8]> {
    let data = chunk.data.strip_prefix(keyword.as_bytes());
    let data = data.filter(|_| &chunk.kind == b"tEXt");
    data.and_then(|data| data.strip_prefix(b"\0"))
}

/// The picture without anything written in it.
pub(crate) fn without_text(file: &[u8]) -> Result<Vec<u8>, PersonaError> {
    let mut picture = SIGNATURE.to_vec();
    for chunk in chunks(file)? {
        if !TEXT_KINDS.contains(&&chunk.kind) {
            picture.extend_from_slice(chunk.whole);
        }
    }
    Ok(picture)
}

/// The picture with these cards in it, as (keyword, JSON), instead of those it had.
pub(crate) fn with_cards(file: &[u8], cards: &[(&str, &str)]) -> Result<Vec<u8>, PersonaError> {
    let mut written = SIGNATURE.to_vec();
    for old in chunks(file)? {
        if KEYWORDS
            .iter()
            .any(|keyword| text_of(&old, keyword).is_some())
        {
            continue;
        }
        if &old.kind == b"IEND" {
            for (keyword, json) in cards {
                let mut data = format!("{keyword}\0").into_bytes();
                data.extend_from_slice(BASE64.encode(json).as_bytes());
                written.extend(chunk(b"tEXt", &data));
            }
        }
        written.extend_from_slice(old.whole);
    }
    Ok(written)
}

/// A chunk of these bytes, of which there are less than 4 GiB.
fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut whole = (data.len() as u32).to_be_bytes().to_vec();
    whole.extend_from_slice(kind);
    whole.extend_from_slice(data);
    let crc = crc32fast::hash(&whole[4..]);
    whole.extend_from_slice(&crc.to_be_bytes());
    whole
}

/// Edge of the picture of cards that have none, in pixels.
const PLACEHOLDER_EDGE: u32 = 64;

/// A picture for cards that have none: a disc on a plain ground, in shades of grey.
pub(crate) fn placeholder() -> Vec<u8> {
    let edge = PLACEHOLDER_EDGE as i32;
    let mut rows = Vec::new();
    for y in 0..edge {
        rows.push(0); // a row that is not predicted from others
        rows.extend((0..edge).map(|x| {
            let (dx, dy) = (2 * x + 1 - edge, 2 * y + 1 - edge);
            let is_inside = dx * dx + dy * dy < (edge * 3 / 4) * (edge * 3 / 4);
            if is_inside { 0xc0_u8 } else { 0x60 }
        }));
    }
    let mut header = PLACEHOLDER_EDGE.to_be_bytes().to_vec();
    header.extend(PLACEHOLDER_EDGE.to_be_bytes());
    header.extend([8, 0, 0, 0, 0]); // eight bits of grey
    let mut file = SIGNATURE.to_vec();
    file.extend(chunk(b"IHDR", &header));
    file.extend(chunk(b"IDAT", &stored(&rows)));
    file.extend(chunk(b"IEND", &[]));
    file
}

/// A zlib stream of one stored block, for less than 64 KiB.
fn stored(bytes: &[u8]) -> Vec<u8> {
    let length = bytes.len() as u16;
    let mut stream = vec![0x78, 0x01, 0x01];
    stream.extend(length.to_le_bytes());
    stream.extend((!length).to_le_bytes());
    stream.extend_from_slice(bytes);
    let (mut low, mut high) = (1_u32, 0_u32);
    for &byte in bytes {
        low = (low + u32::from(byte)) % 65_521;
        high = (high + low) % 65_521;
    }
    stream.extend((high << 16 | low).to_be_bytes());
    stream
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_placeholder_is_a_whole_picture() {
        let file = placeholder();
        let chunks = chunks(&file).unwrap();
        let kinds: Vec<_> = chunks.iter().map(|chunk| &chunk.kind).collect();
        assert_eq!(kinds, [b"IHDR", b"IDAT", b"IEND"]);
        for chunk in &chunks {
            let (body, crc) = chunk.whole.split_at(chunk.whole.len() - 4);
            assert_eq!(crc32fast::hash(&body[4..]).to_be_bytes(), crc);
        }
        // A row is its filter and its pixels; the stream adds 2 + 5 + 4 bytes.
        assert_eq!(chunks[1].data.len(), 64 * 65 + 11);
    }

    #[test]
    fn the_checksum_of_a_stream_is_that_of_its_specification() {
        // RFC 1950: Adler-32 of "Wikipedia", as everybody's example has it.
        assert!(stored(b"Wikipedia").ends_with(&[0x11, 0xe6, 0x03, 0x98]));
    }
}
