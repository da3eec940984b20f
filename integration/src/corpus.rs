//! The hostile scripts: their files, and what they expect.
