//! Another language's JSON parser, in a process of its own.

use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A process that is asked with frames and answers with lines; see `reader.py`. It ends with its input.
pub(super) struct Reader {
    pub(super) name: &'static str,
    child: Child,
    input: Option<BufWriter<ChildStdin>>,
    output: BufReader<ChildStdout>,
}

impl Reader {
    pub(super) fn start(name: &'static str, script: &str) -> Reader {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("stays/diff").join(script);
        let mut child = Command::new(name)
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        let input = child.stdin.take().map(BufWriter::new);
        let output = BufReader::new(child.stdout.take().unwrap());
        Reader { name, child, input, output }
    }

    /// Sends bodies, which it will answer for at once.
    pub(super) fn ask<'a>(&mut self, bodies: impl Iterator<Item = &'a [u8]>) {
        let input = self.input.as_mut().unwrap();
        for body in bodies {
            input.write_all(&u32::try_from(body.len()).unwrap().to_le_bytes()).unwrap();
            input.write_all(body).unwrap();
        }
        input.write_all(&[0; 4]).unwrap();
        input.flush().unwrap();
    }

    /// Its answer about the next body.
    pub(super) fn answer(&mut self) -> String {
        let mut line = Vec::new();
        self.output.read_until(b'\n', &mut line).unwrap();
        assert_eq!(line.pop(), Some(b'\n'), "{} has ended", self.name);
        String::from_utf8(line).unwrap()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.input = None;
        let _ = self.child.wait();
    }
}
