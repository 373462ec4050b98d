//! Exits: every way a packet can leave a program has a name, an action, a counter and, for drops, advice.

/// What to do with the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// To the kernel, untouched.
    Pass,
    /// Gone, counted.
    Drop,
    /// Back out of the interface it came in by.
    Transmit,
    /// Out of another interface.
    Redirect,
    /// To the backend's program of this box.
    Local,
}

/// Leaves at `exit`.
///
/// Its number is made here, out of the way: the compiler would otherwise set it ahead of every check, on packets that go on,
/// which took a tenth of their time.
#[cold]
#[inline(always)]
pub(crate) fn leave<T, E>(exit: E) -> Result<T, E> {
    Err(core::hint::black_box(exit))
}

/// What must be there for a packet to go on.
pub(crate) trait OrLeave<T> {
    /// The value, or [`leave`] at `exit`.
    fn or_leave<E>(self, exit: E) -> Result<T, E>;
}

impl<T> OrLeave<T> for Option<T> {
    #[inline(always)]
    fn or_leave<E>(self, exit: E) -> Result<T, E> {
        match self {
            Some(value) => Ok(value),
            None => leave(exit),
        }
    }
}

macro_rules! exits {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $action:ident, $advice:literal;)*) => {
        /// Where a packet leaves the program. Each has a counter; its number is part of the ABI.
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Exit { $($(#[$doc])* $name,)* }

        impl Exit {
            /// All exits, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// What happens to the packet.
            #[inline(always)]
            pub const fn action(self) -> $crate::exit::Action {
                match self { $(Self::$name => $crate::exit::Action::$action,)* }
            }

            /// Name in metrics and JSON.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// What a growing counter means for the operator; empty where nothing is wrong.
            pub const fn advice(self) -> &'static str {
                match self { $(Self::$name => $advice,)* }
            }
        }
    };
}
pub(crate) use exits;
