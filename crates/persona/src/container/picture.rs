//! Pictures: what they are is told by their first bytes only, never by a name or a stated type.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::png;

/// A picture of a persona.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// The file.
    pub bytes: Vec<u8>,
    /// Its media type, such as `image/png`.
    pub media_type: &'static str,
}

impl Picture {
    /// The picture that these bytes are. Anything that a browser could take for a page or a program,
    /// such as SVG, is none. Of a PNG file what is written in it is left out: it may be a card.
    pub(crate) fn of(bytes: Vec<u8>) -> Option<Self> {
        let media_type = media_type(&bytes)?;
        let bytes = match media_type {
            "image/png" => png::without_text(&bytes).ok()?,
            _ => bytes,
        };
        Some(Self { bytes, media_type })
    }

    /// The picture of a `data:` URI in base64.
    pub(crate) fn of_data_uri(uri: &str) -> Option<Self> {
        let (stated, data) = uri.strip_prefix("data:")?.split_once(',')?;
        let data = data.trim();
        stated.ends_with(";base64").then_some(())?;
        Self::of(BASE64_STANDARD.decode(data).ok()?)
    }

    /// The `data:` URI of this picture.
    pub(crate) fn data_uri(&self) -> String {
        let data = BASE64_STANDARD.encode(&self.bytes);
        format!("data:{};base64,{data}", self.media_type)
    }

    /// How names of such files end, without the dot.
    pub(crate) fn extension(&self) -> &'static str {
        match self.media_type {
            "image/jpeg" => "jpg",
            other => other.trim_start_matches("image/"),
        }
    }
}

/// What kind of picture these bytes begin as.
pub(crate) fn media_type(bytes: &[u8]) -> Option<&'static str> {
    let at = |offset: usize, magic: &[u8]| {
        bytes
            .get(offset..)
            .is_some_and(|rest| rest.starts_with(magic))
    };
    if at(0, &png::SIGNATURE) {
        Some("image/png")
    } else if at(0, b"\xff\xd8\xff") {
        Some("image/jpeg")
    } else if at(0, b"RIFF") && at(8, b"WEBP") {
        Some("image/webp")
    } else if at(0, b"GIF87a") || at(0, b"GIF89a") {
        Some("image/gif")
    } else if at(4, b"ftypavif") || at(4, b"ftypavis") {
        Some("image/avif")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pictures_are_pictures() {
        let pictures: [(&[u8], &str); 5] = [
            (b"\xff\xd8\xff\xe0....", "image/jpeg"),
            (b"RIFF....WEBPVP8 ", "image/webp"),
            (b"GIF89a..", "image/gif"),
            (b"\0\0\0\x1cftypavif", "image/avif"),
            (&png::placeholder(), "image/png"),
        ];
        for (bytes, media_type) in pictures {
            assert_eq!(Picture::of(bytes.to_vec()).unwrap().media_type, media_type);
        }
        let others: [&[u8]; 5] = [
            b"",
            b"<svg xmlns='x'/>",
            b"<!doctype html>",
            b"RIFF....WAVE",
            &png::SIGNATURE,
        ];
        for bytes in others {
            assert_eq!(Picture::of(bytes.to_vec()), None);
        }
    }

    #[test]
    fn a_data_uri_is_what_it_holds_whatever_it_says() {
        let picture = Picture::of(png::placeholder()).unwrap();
        assert_eq!(Picture::of_data_uri(&picture.data_uri()), Some(picture));
        assert_eq!(Picture::of_data_uri("data:image/png;base64,PHN2Zz4="), None);
        assert_eq!(Picture::of_data_uri("https://example.org/a.png"), None);
    }
}
