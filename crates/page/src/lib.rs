//! The chat page. It is written in the folder `web`: plain ES modules, style sheets and pictures, which a
//! browser could take as they are. `build.mjs` joins and minifies them; what comes out is checked in as the
//! folder `embedded`, so that building matou takes nothing but cargo.
//!
//! Who serves them decides how; here each has its media type, its bytes, the same compressed where that
//! makes it smaller, and a tag that changes when it does.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::LazyLock;

use flate2::Compression;
use flate2::write::GzEncoder;
use rust_embed::RustEmbed;

/// The folder. In the binary in every profile: a server may run without its sources.
#[derive(RustEmbed)]
#[folder = "embedded/"]
struct Folder;

/// One file of the page.
#[derive(Debug)]
pub struct Asset {
    /// Its media type, with the character set of texts.
    pub media_type: &'static str,
    /// Its bytes.
    pub bytes: Cow<'static, [u8]>,
    /// The same by gzip, if that is smaller.
    pub gzip: Option<Vec<u8>>,
    /// An entity tag, in its quotes: other bytes have another one.
    pub etag: String,
}

/// All files by their paths. Compressing them takes some ten milliseconds, once.
static ASSETS: LazyLock<BTreeMap<Cow<'static, str>, Asset>> = LazyLock::new(|| {
    let files = Folder::iter().filter_map(|path| {
        let file = Folder::get(&path)?;
        let asset = asset_of(&path, file.data, file.metadata.sha256_hash());
        Some((path, asset))
    });
    files.collect()
});

/// The file at `path`, which is relative to the folder: `js/main.js`.
pub fn asset(path: &str) -> Option<&'static Asset> {
    ASSETS.get(path)
}

/// The paths of all files.
pub fn paths() -> impl Iterator<Item = &'static str> {
    ASSETS.keys().map(AsRef::as_ref)
}

fn asset_of(path: &str, bytes: Cow<'static, [u8]>, digest: [u8; 32]) -> Asset {
    let gzip = compressed(&bytes).filter(|gzip| gzip.len() < bytes.len());
    let digits = digest[..16].iter().map(|byte| format!("{byte:02x}"));
    Asset {
        media_type: media_type(path),
        bytes,
        gzip,
        etag: format!("\"{}\"", digits.collect::<String>()),
    }
}

fn compressed(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).ok()?;
    encoder.finish().ok()
}

/// The media type of a file by its ending.
fn media_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map_or("", |(_, ending)| ending) {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" => "application/json",
        "webmanifest" => "application/manifest+json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        _ => "text/plain; charset=utf-8",
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;

    use super::*;

    /// All of it together, compressed and without pictures, may take this much: a page is there within a
    /// second over a slow network too.
    const MOST_BYTES: usize = 150 << 10;

    #[test]
    fn the_page_is_small() {
        let is_picture = |asset: &&Asset| asset.media_type.starts_with("image/");
        let sent = |asset: &Asset| asset.gzip.as_ref().map_or(asset.bytes.len(), Vec::len);
        let all: usize = ASSETS
            .values()
            .filter(|asset| !is_picture(asset))
            .map(sent)
            .sum();
        assert!(all > 1_000, "there is a page");
        assert!(all <= MOST_BYTES, "{all} bytes");
    }

    #[test]
    fn what_is_compressed_is_the_same() {
        for (path, asset) in ASSETS.iter() {
            let Some(gzip) = &asset.gzip else { continue };
            let mut bytes = Vec::new();
            GzDecoder::new(gzip.as_slice())
                .read_to_end(&mut bytes)
                .unwrap();
            assert!(bytes == *asset.bytes, "{path}");
        }
    }

    #[test]
    fn every_file_has_a_type_that_browsers_obey() {
        for path in paths() {
            let is_plain = media_type(path).starts_with("text/plain");
            assert_eq!(is_plain, path.ends_with(".txt"), "{path}");
        }
    }
}
