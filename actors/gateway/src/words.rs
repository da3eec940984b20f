//! The words of one request, borrowed from the buffer that they came in.

/// Where a word lies: from the first number up to but not including the second.
pub(crate) type Span = (u32, u32);

/// The words of one request. The first is the command's name.
#[derive(Clone, Copy)]
pub(crate) struct Words<'a> {
    buffer: &'a [u8],
    spans: &'a [Span],
}

impl<'a> Words<'a> {
    /// The words that lie at `spans` in `buffer`.
    pub(crate) fn new(buffer: &'a [u8], spans: &'a [Span]) -> Self {
        Words { buffer, spans }
    }

    /// How many words there are, the command's name included.
    pub(crate) fn count(&self) -> usize {
        self.spans.len()
    }

    /// The word at `index`, if there are so many.
    pub(crate) fn find(&self, index: usize) -> Option<&'a [u8]> {
        let (start, end) = *self.spans.get(index)?;
        Some(&self.buffer[start as usize..end as usize])
    }

    /// The word at `index`. The command's arity has been checked, so that it is there.
    pub(crate) fn at(&self, index: usize) -> &'a [u8] {
        self.find(index).expect("the arity of a command covers the words that it reads")
    }

    /// The words from `index` on.
    pub(crate) fn from(&self, index: usize) -> Words<'a> {
        Words { buffer: self.buffer, spans: self.spans.get(index..).unwrap_or_default() }
    }

    /// Each word in turn.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
        let buffer = self.buffer;
        self.spans.iter().map(move |&(start, end)| &buffer[start as usize..end as usize])
    }
}

/// Whether a word is this keyword, whatever the case of its letters.
pub(crate) fn is(word: &[u8], keyword: &str) -> bool {
    word.eq_ignore_ascii_case(keyword.as_bytes())
}
