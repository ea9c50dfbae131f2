//! The system's randomness, played: hash seeds, tokio's choices and openraft's election delays come from
//! the seed. In: a seed per thread. Out: the C function `getrandom` for this program.
//! Never: a real random byte in a thread that was seeded.

use std::cell::RefCell;
use std::fs::File;
use std::io::Read;

use rand::rngs::SmallRng;
use rand::{RngCore, SeedableRng};

thread_local! {
    static DICE: RefCell<Option<SmallRng>> = const { RefCell::new(None) };
}

/// Everything random in this thread comes from `seed` from now on. The thread must be new: what has drawn
/// before keeps what it has.
pub fn seed(seed: u64) {
    DICE.with(|dice| *dice.borrow_mut() = Some(SmallRng::seed_from_u64(seed)));
}

fn fill(buffer: &mut [u8]) -> bool {
    let played = DICE.try_with(|dice| match &mut *dice.borrow_mut() {
        Some(dice) => {
            dice.fill_bytes(buffer);
            true
        }
        None => false,
    });
    played.unwrap_or(false) || {
        // Another thread, of the test runner: it may have the real thing.
        let real = File::open("/dev/urandom").and_then(|mut file| file.read_exact(buffer));
        real.is_ok()
    }
}

/// Stands before the function of the same name in libc, as its documentation describes it.
///
/// # Safety
/// `buffer` points to `length` writable bytes, as for the function it stands for.
#[expect(unsafe_code, reason = "it has the C function's name and signature")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(buffer: *mut u8, length: usize, _flags: u32) -> isize {
    if length == 0 {
        return 0;
    }
    // SAFETY: the caller promises so; a null pointer with a length would break that promise.
    let bytes = unsafe { std::slice::from_raw_parts_mut(buffer, length) };
    match fill(bytes) {
        true => length.cast_signed(),
        false => -1,
    }
}
