//! QR codes of addresses, for a terminal and for a page.

use qrcode::{Color, EcLevel, QrCode};

/// Light modules around a code. The standard says four; two are enough for every reader of today, and
/// leave more of a small terminal.
const QUIET: usize = 2;

/// Black on white, of the 240 colours that themes leave as they are: so the code is dark on light in a
/// dark terminal too, as some readers demand.
const BLACK_ON_WHITE: &str = "\x1b[38;5;16;48;5;231m";
const RESET: &str = "\x1b[0m";

/// A code for a terminal: lines of half blocks, two modules a character, with escapes of colours.
/// Its reader sees dark on light whatever colours the terminal has. None if the text is too long for a
/// code (about 2 300 bytes).
pub fn qr_terminal(text: &str) -> Option<String> {
    let grid = Grid::new(text)?;
    let mut out = String::new();
    for y in (0..grid.side).step_by(2) {
        out.push_str(BLACK_ON_WHITE);
        for x in 0..grid.side {
            out.push(match (grid.is_dark(x, y), grid.is_dark(x, y + 1)) {
                (true, true) => '█',
                (true, false) => '▀',
                (false, true) => '▄',
                (false, false) => ' ',
            });
        }
        out.push_str(RESET);
        out.push('\n');
    }
    Some(out)
}

/// A code for a page: one `<svg>` of a white rectangle and a black path, a module a unit. None if the
/// text is too long for a code (about 2 300 bytes).
pub fn qr_svg(text: &str) -> Option<String> {
    let grid = Grid::new(text)?;
    let side = grid.side;
    let mut path = String::new();
    for y in 0..side {
        let mut x = 0;
        while x < side {
            let run = (x..side).take_while(|&x| grid.is_dark(x, y)).count();
            if run > 0 {
                path.push_str(&format!("M{x} {y}h{run}v1h-{run}z"));
            }
            x += run + 1;
        }
    }
    Some(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {side} {side}\" \
         shape-rendering=\"crispEdges\"><rect width=\"{side}\" height=\"{side}\" fill=\"#fff\"/>\
         <path d=\"{path}\" fill=\"#000\"/></svg>"
    ))
}

/// Modules of a code and the light ones around it.
struct Grid {
    modules: Vec<Color>,
    width: usize,
    side: usize,
}

impl Grid {
    fn new(text: &str) -> Option<Self> {
        let code = QrCode::with_error_correction_level(text, EcLevel::M).ok()?;
        let width = code.width();
        Some(Self {
            modules: code.into_colors(),
            width,
            side: width + 2 * QUIET,
        })
    }

    fn is_dark(&self, x: usize, y: usize) -> bool {
        let inside = |at: usize| at.checked_sub(QUIET).filter(|&at| at < self.width);
        inside(x)
            .zip(inside(y))
            .and_then(|(x, y)| self.modules.get(y * self.width + x))
            == Some(&Color::Dark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a camera reads of a picture, three pixels a module.
    fn decode(side: usize, is_dark: impl Fn(usize, usize) -> bool) -> String {
        let mut image = rqrr::PreparedImage::prepare_from_greyscale(side * 3, side * 3, |x, y| {
            if is_dark(x / 3, y / 3) { 0 } else { 255 }
        });
        let grids = image.detect_grids();
        assert_eq!(grids.len(), 1);
        grids[0].decode().unwrap().1
    }

    const TEXTS: [&str; 3] = [
        "https://192.168.1.20:8443/",
        "https://box.local:8443/#token=0123456789abcdef0123456789abcdef",
        "https://[fd12:3456:789a::1]:8443/ et du fran\u{e7}ais",
    ];

    #[test]
    fn a_terminal_s_code_is_read_again() {
        for text in TEXTS {
            let code = qr_terminal(text).unwrap();
            let rows: Vec<Vec<char>> = code
                .lines()
                .map(|line| {
                    let line = line.strip_prefix(BLACK_ON_WHITE).unwrap();
                    line.strip_suffix(RESET).unwrap().chars().collect()
                })
                .collect();
            let side = rows[0].len();
            assert!(rows.iter().all(|row| row.len() == side));
            assert_eq!(rows.len(), side.div_ceil(2));
            let is_dark = |x: usize, y: usize| match rows[y / 2][x] {
                '█' => true,
                '▀' => y.is_multiple_of(2),
                '▄' => !y.is_multiple_of(2),
                other => {
                    assert_eq!(other, ' ');
                    false
                }
            };
            assert_eq!(decode(side, is_dark), text);
            let edges =
                (0..side).flat_map(|at| [(at, 0), (at, 1), (0, at), (1, at), (side - 1, at)]);
            assert!(
                edges.into_iter().all(|(x, y)| !is_dark(x, y)),
                "no quiet zone"
            );
        }
    }

    #[test]
    fn a_page_s_code_is_read_again() {
        for text in TEXTS {
            let svg = qr_svg(text).unwrap();
            let between = |start: &str, end: &str| {
                let from = svg.find(start).unwrap() + start.len();
                svg[from..].split(end).next().unwrap().to_owned()
            };
            let side: usize = between("viewBox=\"0 0 ", " ").parse().unwrap();
            let mut dark = vec![false; side * side];
            for run in between("<path d=\"M", "\"")
                .trim_end_matches('z')
                .split("zM")
            {
                let (x, rest) = run.split_once(' ').unwrap();
                let (y, rest) = rest.split_once('h').unwrap();
                let (length, rest) = rest.split_once("v1h-").unwrap();
                assert_eq!(length, rest);
                let at = y.parse::<usize>().unwrap() * side + x.parse::<usize>().unwrap();
                dark[at..at + length.parse::<usize>().unwrap()].fill(true);
            }
            assert_eq!(decode(side, |x, y| dark[y * side + x]), text);
            assert_eq!(svg.matches('<').count(), 4, "svg, rect, path and its end");
            assert!(!svg.contains("style") && !svg.contains("script"));
        }
    }

    #[test]
    fn a_text_that_is_too_long_has_no_code() {
        let long = "a".repeat(3000);
        assert_eq!(qr_terminal(&long), None);
        assert_eq!(qr_svg(&long), None);
        assert!(qr_svg(&"a".repeat(2300)).is_some());
        assert!(qr_svg("").is_some());
    }
}
