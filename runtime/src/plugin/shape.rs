//! What a component may look like, checked before anything reads deeper into it.
//!
//! Validating is slower than linear in how deep components lie in each other, and compiling a function in its locals
//! times its blocks: files of half a megabyte took minutes and gigabytes. Components in practice are far below these
//! limits; the largest known, a whole Python, has 13,000 functions, one of 417 KiB, and 155,000 locals times blocks.

use wasmparser::{Operator, Parser, Payload};

/// Components and modules in each other.
const DEPTH: usize = 16;
/// Components and modules altogether.
const PARTS: usize = 1_000;
/// Functions with a body, altogether.
const FUNCTIONS: usize = 200_000;
/// Bytes of one body, and of all.
const BODY_BYTES: usize = 2 << 20;
const CODE_BYTES: usize = 64 << 20;
/// Blocks, loops and conditions of one function, and their number times that of its locals.
const BLOCKS: u64 = 100_000;
const LOCALS_TIMES_BLOCKS: u64 = 4_000_000;

/// Whether `wasm` is small enough in every respect to be compiled in time. Reads every instruction: 5 ms for a megabyte
/// of code. Says nothing of bytes that are no WebAssembly.
///
/// # Errors
/// What there is too much of.
pub(crate) fn check(wasm: &[u8]) -> Result<(), String> {
    walk(wasm, |body| {
        let Some((locals, blocks)) = measure(body) else { return Ok(()) };
        within("blocks in one function", blocks, BLOCKS)?;
        within("locals times blocks in one function", locals.saturating_mul(blocks), LOCALS_TIMES_BLOCKS)
    })
}

/// Whether `wasm` is small enough to be looked at, which takes no longer however much code there is.
///
/// # Errors
/// What there is too much of.
pub(crate) fn outline(wasm: &[u8]) -> Result<(), String> {
    walk(wasm, |_| Ok(()))
}

fn walk(wasm: &[u8], look: impl Fn(&wasmparser::FunctionBody<'_>) -> Result<(), String>) -> Result<(), String> {
    let (mut depth, mut parts, mut functions, mut code) = (0_usize, 0_usize, 0_usize, 0_usize);
    for payload in Parser::new(0).parse_all(wasm) {
        // What is malformed is refused by whoever reads it for what it is, with its place.
        let Ok(payload) = payload else { return Ok(()) };
        match payload {
            Payload::Version { .. } => {
                (depth, parts) = (depth + 1, parts + 1);
                within("components in each other", depth, DEPTH)?;
                within("components and modules", parts, PARTS)?;
            }
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::CodeSectionEntry(body) => {
                let bytes = body.range().len();
                (functions, code) = (functions + 1, code.saturating_add(bytes));
                within("functions", functions, FUNCTIONS)?;
                within("bytes of code", code, CODE_BYTES)?;
                within("bytes in one function", bytes, BODY_BYTES)?;
                look(&body)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Locals and blocks of a function; `None` if it is malformed.
fn measure(body: &wasmparser::FunctionBody<'_>) -> Option<(u64, u64)> {
    let mut locals = 0;
    for group in body.get_locals_reader().ok()? {
        locals += u64::from(group.ok()?.0);
    }
    let mut blocks = 0;
    for operator in body.get_operators_reader().ok()? {
        let opens = matches!(operator.ok()?, Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. });
        blocks += u64::from(opens);
    }
    Some((locals, blocks))
}

fn within<N: PartialOrd + std::fmt::Display>(what: &str, found: N, most: N) -> Result<(), String> {
    if found <= most { Ok(()) } else { Err(format!("it has more than {most} {what}")) }
}

#[cfg(test)]
mod tests {
    use super::{check, outline};

    const HEAD: &[u8] = b"\0asm\x0d\0\x01\0";

    fn leb(mut number: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        loop {
            let low = (number & 127) as u8;
            number >>= 7;
            if number == 0 {
                bytes.push(low);
                return bytes;
            }
            bytes.push(low | 128);
        }
    }

    fn section(id: u8, content: &[u8]) -> Vec<u8> {
        [&[id][..], &leb(content.len()), content].concat()
    }

    /// A component that holds a module of functions.
    fn functions(bodies: &[Vec<u8>]) -> Vec<u8> {
        let declared = [leb(bodies.len()), vec![0; bodies.len()]].concat();
        let code: Vec<u8> = bodies.iter().flat_map(|body| [leb(body.len()), body.clone()].concat()).collect();
        let code = [leb(bodies.len()), code].concat();
        let types = section(1, b"\x01\x60\0\0");
        let module = [b"\0asm\x01\0\0\0".to_vec(), types, section(3, &declared), section(10, &code)].concat();
        [HEAD.to_vec(), section(1, &module)].concat()
    }

    fn body(locals: usize, blocks: usize) -> Vec<u8> {
        let locals = [b"\x01".to_vec(), leb(locals), b"\x7e".to_vec()].concat();
        [locals, [0x03, 0x40, 0x0b].repeat(blocks), vec![0x0b]].concat()
    }

    #[test]
    fn what_takes_too_long_is_refused_at_once() {
        let nested = (0..40_000).fold(HEAD.to_vec(), |inner, depth| {
            // Only the outermost matter: the parser goes in from outside.
            if depth < 39_960 { inner } else { [HEAD.to_vec(), section(4, &inner)].concat() }
        });
        let many = [HEAD.to_vec(), section(4, HEAD).repeat(1_001)].concat();
        for (wasm, expected) in [
            (nested, "it has more than 16 components in each other"),
            (many, "it has more than 1000 components and modules"),
            (functions(&vec![b"\0\x0b".to_vec(); 200_001]), "it has more than 200000 functions"),
            (functions(&[body(0, 100_001)]), "it has more than 100000 blocks in one function"),
            (functions(&[body(2_000, 20_000)]), "it has more than 4000000 locals times blocks in one function"),
            (functions(&[body(0, 800_000)]), "it has more than 2097152 bytes in one function"),
        ] {
            assert_eq!(check(&wasm), Err(expected.to_owned()));
            // What lies inside of functions is left to whoever is about to compile them.
            let outlined = if expected.contains("blocks") { Ok(()) } else { Err(expected.to_owned()) };
            assert_eq!(outline(&wasm), outlined);
        }
    }

    #[test]
    fn usual_components_and_other_bytes_pass() {
        assert_eq!(check(&functions(&[body(100, 1_000), body(0, 50_000)])), Ok(()));
        for bytes in [&b""[..], b"\0asm", b"nothing of the kind", &HEAD[..6]] {
            assert_eq!(check(bytes), Ok(()));
        }
    }
}
