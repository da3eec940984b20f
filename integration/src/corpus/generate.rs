//! The parts of a source that are generated: what stands for its `@@`.

/// Where a generated part goes.
const PLACE: &[u8] = b"@@";

/// One `generate` line.
enum Generator {
    Repeat { count: usize, text: Text },
    Fill { bytes: usize, text: Text },
}

/// Bytes, with places for the number of the repetition.
struct Text(Vec<Vec<u8>>);

/// The source with its places filled: the first by the first line, and so on. Those that fill up to a size come last.
pub(super) fn source(template: &[u8], lines: &[&str]) -> Result<Vec<u8>, String> {
    if lines.is_empty() {
        return Ok(template.to_vec());
    }
    let generators = lines.iter().map(|line| Generator::parse(line)).collect::<Result<Vec<_>, _>>()?;
    let pieces = cut(template);
    if pieces.len() != generators.len() + 1 {
        return Err(format!("{} places for {} generators", pieces.len() - 1, generators.len()));
    }
    let repeated: Vec<Option<Vec<u8>>> = generators.iter().map(Generator::repeated).collect();
    let fixed =
        pieces.iter().map(|piece| piece.len()).sum::<usize>() + repeated.iter().flatten().map(Vec::len).sum::<usize>();
    let mut source = pieces[0].to_vec();
    for ((generator, repeated), piece) in generators.iter().zip(repeated).zip(&pieces[1..]) {
        source.extend(match (generator, repeated) {
            (_, Some(part)) => part,
            (Generator::Fill { bytes, text }, None) => text.fill(bytes.checked_sub(fixed).ok_or("no room to fill")?),
            (Generator::Repeat { .. }, None) => unreachable!("it has been repeated"),
        });
        source.extend_from_slice(piece);
    }
    Ok(source)
}

/// The template's pieces between its places.
fn cut(template: &[u8]) -> Vec<&[u8]> {
    let mut pieces = Vec::new();
    let mut rest = template;
    while let Some(place) = rest.windows(PLACE.len()).position(|window| window == PLACE) {
        pieces.push(&rest[..place]);
        rest = &rest[place + PLACE.len()..];
    }
    pieces.push(rest);
    pieces
}

impl Generator {
    fn parse(line: &str) -> Result<Self, String> {
        let wrong = || format!("{line:?} generates nothing");
        let (word, rest) = line.split_once(' ').ok_or_else(wrong)?;
        let (number, text) = rest.split_once(' ').ok_or_else(wrong)?;
        let number = number.parse().map_err(|_| wrong())?;
        let text = Text::parse(text.trim_end_matches(' '))?;
        match word {
            "repeat" => Ok(Generator::Repeat { count: number, text }),
            "fill" => Ok(Generator::Fill { bytes: number, text }),
            _ => Err(wrong()),
        }
    }

    fn repeated(&self) -> Option<Vec<u8>> {
        match self {
            Generator::Repeat { count, text } => Some((0..*count).flat_map(|number| text.written(number)).collect()),
            Generator::Fill { .. } => None,
        }
    }
}

impl Text {
    fn parse(text: &str) -> Result<Self, String> {
        let parts = text.split("@i").map(|part| unescape(part.as_bytes()));
        Ok(Text(parts.collect::<Option<_>>().ok_or_else(|| format!("{text:?} has an escape that is none"))?))
    }

    fn written(&self, number: usize) -> Vec<u8> {
        self.0.join(number.to_string().as_bytes())
    }

    /// As often as it fits, and blanks for the rest.
    fn fill(&self, bytes: usize) -> Vec<u8> {
        let mut filled = Vec::with_capacity(bytes);
        for number in 0.. {
            let part = self.written(number);
            if part.is_empty() || filled.len() + part.len() > bytes {
                break;
            }
            filled.extend(part);
        }
        filled.resize(bytes, b' ');
        filled
    }
}

fn unescape(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text.iter().copied();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'\\' => match rest.next()? {
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'0' => 0,
                b'\\' => b'\\',
                b'x' => {
                    let digits = [rest.next()?, rest.next()?];
                    u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
                }
                _ => return None,
            },
            byte => byte,
        });
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_filled_in_order() {
        let made = source(b"a@@b@@c", &["repeat 3 @i,", "repeat 2 \\x41\\n"]).unwrap();
        assert_eq!(made, b"a0,1,2,bA\nA\nc");
    }

    #[test]
    fn a_fill_makes_the_source_exactly_so_long() {
        let made = source(b"<@@>", &["fill 9 xyz"]).unwrap();
        assert_eq!(made, b"<xyzxyz >");
        assert!(source(b"0123456789@@", &["fill 9 x"]).is_err());
    }

    #[test]
    fn what_cannot_be_generated_is_an_error() {
        for (template, line) in [("@@", "repeat x y"), ("@@", "twice 2 y"), ("", "repeat 1 y"), ("@@", "repeat 1 \\q")]
        {
            assert!(source(template.as_bytes(), &[line]).is_err(), "{line}");
        }
    }
}
