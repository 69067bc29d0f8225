//! The file of those who may use the proxy: `name:hash` lines, the hash a PHC string of Argon2 (RFC 9106), as
//! `sekisho password` prints them. [`Users::load`] reads it, at the start, at a reload and for `check`; all else is PURE.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Argon2, Params};
use rustix::rand::{GetRandomFlags, getrandom};

/// The largest file that is read, in bytes: about ten thousand users.
const LARGEST: u64 = 1 << 20;

/// How many problems are told.
const MOST_PROBLEMS: usize = 10;

/// The longest name (RFC 1929 section 2).
const LONGEST_NAME: usize = 255;

/// What one check may cost: memory in KiB, passes, lanes.
const COSTLIEST: (u32, u32, u32) = (256 << 10, 64, 16);

/// What to write in the place of a line that is wrong.
const WRITE: &str = "write the line that `sekisho password NAME` prints";

/// Those who may use the proxy.
#[derive(Clone, Debug)]
pub struct Users {
    users: HashMap<Vec<u8>, User>,
    /// What strangers are checked against, so that they do not find out by the time who is known.
    any: Box<PasswordHash>,
}

#[derive(Clone, Debug)]
struct User {
    hash: Box<PasswordHash>,
    /// The hash as it is written.
    line: String,
}

/// One thing that is wrong with the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserProblem {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1; `None` where no line is at fault.
    pub line: Option<usize>,
    /// What is wrong.
    pub what: String,
    /// What to write.
    pub write: &'static str,
}

impl fmt::Display for UserProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        write!(f, "{}; {}", self.what, self.write)
    }
}

/// The line, what is wrong there, and what to write.
type Wrong = (Option<usize>, String, &'static str);

/// Why there is no hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// The name cannot stand in the file.
    #[error("{0}")]
    Name(&'static str),
    /// Nobody could log in with it.
    #[error("the password is empty or longer than 255 bytes")]
    Password,
    /// The system has no randomness or memory.
    #[error("the system does not give what a hash needs")]
    System,
}

impl Users {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// What is wrong with it, the first few things of many.
    pub fn load(path: &Path) -> Result<Self, Vec<UserProblem>> {
        let problem = |(line, what, write)| UserProblem {
            file: path.to_owned(),
            line,
            what,
            write,
        };
        let text = read(path).map_err(|error| {
            let write = "name a file that the user of sekisho can read";
            vec![problem((None, format!("cannot be read: {error}"), write))]
        })?;
        Self::parse(&text).map_err(|problems| problems.into_iter().map(problem).collect())
    }

    fn parse(text: &str) -> Result<Self, Vec<Wrong>> {
        let mut users = HashMap::new();
        let mut any = None;
        let mut problems = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match user(line) {
                Ok((name, user)) => {
                    any.get_or_insert_with(|| user.hash.clone());
                    if users.insert(name.as_bytes().to_vec(), user).is_some() {
                        let what = format!("`{name}` is there twice");
                        problems.push((Some(number), what, "keep one of the two"));
                    }
                }
                Err(what) => problems.push((Some(number), what, WRITE)),
            }
            if problems.len() == MOST_PROBLEMS {
                break;
            }
        }
        match any {
            Some(any) if problems.is_empty() => Ok(Self { users, any }),
            None if problems.is_empty() => {
                Err(vec![(None, "there is no user in it".to_owned(), WRITE)])
            }
            _ => Err(problems),
        }
    }

    /// Whether the password is that of this user. Takes as long as the file's hashes want.
    pub(super) fn verify(&self, name: &[u8], password: &[u8]) -> bool {
        let user = self.users.get(name);
        let hash = user.map_or(&self.any, |user| &user.hash);
        let right = Argon2::default().verify_password(password, &**hash).is_ok();
        right && user.is_some()
    }

    /// The hash of a user, as it is written.
    pub(super) fn line(&self, name: &[u8]) -> Option<&str> {
        self.users.get(name).map(|user| user.line.as_str())
    }

    /// The line of the file for a user.
    ///
    /// # Errors
    ///
    /// [`HashError`].
    pub fn new_line(name: &str, password: &str) -> Result<String, HashError> {
        name_of(name).map_err(HashError::Name)?;
        if password.is_empty() || password.len() > 255 {
            return Err(HashError::Password);
        }
        let mut salt = [0; 16];
        match getrandom(&mut salt, GetRandomFlags::empty()) {
            Ok(filled) if filled == salt.len() => {}
            _ => return Err(HashError::System),
        }
        let hash = Argon2::default()
            .hash_password_with_salt(password.as_bytes(), &salt)
            .map_err(|_| HashError::System)?;
        Ok(format!("{name}:{hash}"))
    }
}

fn user(line: &str) -> Result<(&str, User), String> {
    let (name, text) = line
        .split_once(':')
        .ok_or_else(|| "there is no `:` after a name".to_owned())?;
    name_of(name).map_err(ToOwned::to_owned)?;
    let hash = PasswordHash::new(text).map_err(|_| "the hash is not a PHC string".to_owned())?;
    if !hash.algorithm.as_str().starts_with("argon2") {
        return Err(format!("the hash is of {}, not Argon2", hash.algorithm));
    }
    if hash.salt.is_none() || hash.hash.is_none() {
        return Err("the hash is cut short".to_owned());
    }
    let costs =
        Params::try_from(&hash).map_err(|_| "the hash has costs that do not fit".to_owned())?;
    let (memory, passes, lanes) = COSTLIEST;
    if costs.m_cost() > memory || costs.t_cost() > passes || costs.p_cost() > lanes {
        return Err(format!(
            "the hash costs more than m={memory},t={passes},p={lanes}"
        ));
    }
    let user = User {
        hash: Box::new(hash),
        line: text.to_owned(),
    };
    Ok((name, user))
}

/// A name that both protocols can say.
fn name_of(name: &str) -> Result<(), &'static str> {
    if name.is_empty() || name.len() > LONGEST_NAME {
        Err("the name is empty or longer than 255 bytes")
    } else if name.contains(':') || name.contains(char::is_control) {
        Err("the name has a colon or a control character")
    } else if name.starts_with('#') || name.trim() != name {
        Err("the name begins with #, or begins or ends with a space")
    } else {
        Ok(())
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(LARGEST + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it has more than {LARGEST} bytes"),
        ));
    }
    String::from_utf8(bytes)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not text (UTF-8)"))
}

#[cfg(test)]
pub(in crate::proxy) mod tests {
    use std::sync::Arc;

    use super::*;

    /// A line whose hash costs next to nothing.
    fn cheap(name: &str, password: &str) -> String {
        let costs = Params::new(8, 1, 1, None).unwrap();
        let hash = Argon2::from(costs)
            .hash_password_with_salt(password.as_bytes(), b"a salt of a test")
            .unwrap();
        format!("{name}:{hash}\n")
    }

    /// Users with these passwords.
    pub(in crate::proxy) fn users(pairs: &[(&str, &str)]) -> Arc<Users> {
        let text: String = pairs
            .iter()
            .map(|(name, password)| cheap(name, password))
            .collect();
        Arc::new(Users::parse(&text).unwrap())
    }

    #[test]
    fn a_user_is_known_by_the_right_password_only() {
        let text = format!(
            "# people\n\n {} {}",
            cheap("ann", "secret"),
            cheap("böb b", "")
        );
        let users = Users::parse(&text).unwrap();
        for (name, password, expected) in [
            ("ann", "secret", true),
            ("ann", "Secret", false),
            ("ann", "", false),
            ("Ann", "secret", false),
            ("", "secret", false),
            ("böb b", "", true),
            ("carl", "secret", false),
        ] {
            let right = users.verify(name.as_bytes(), password.as_bytes());
            assert_eq!(right, expected, "{name}");
        }
    }

    #[test]
    fn a_line_that_was_made_here_is_read_here() {
        let line = Users::new_line("ann", "secret").unwrap();
        assert!(line.starts_with("ann:$argon2id$v=19$m="), "{line}");
        assert!(Users::parse(&line).unwrap().verify(b"ann", b"secret"));
        assert_ne!(line, Users::new_line("ann", "secret").unwrap());
        for name in ["", "a:b", "#a", "a\n", " a", &"a".repeat(256)] {
            let error = Users::new_line(name, "secret").unwrap_err();
            assert!(matches!(error, HashError::Name(_)), "{name:?}");
        }
        for password in ["", &"a".repeat(256)] {
            let error = Users::new_line("ann", password).unwrap_err();
            assert_eq!(error, HashError::Password);
        }
    }

    #[test]
    fn problems_name_their_lines_and_what_to_write() {
        let good = cheap("ann", "secret");
        for (line, what) in [
            ("ann", "there is no `:` after a name"),
            (":x", "the name is empty or longer than 255 bytes"),
            ("bob:secret", "the hash is not a PHC string"),
            ("bob:$2y$05$abcdefghijklmnopqrstuv", "not"),
            (
                "bob:$argon2id$v=19$m=8,t=1,p=1$YSBzYWx0IG9mIGEgdGVzdA",
                "the hash is cut short",
            ),
            (
                "bob:$argon2id$v=19$m=999999999,t=1,p=1$YSBzYWx0IG9mIGEgdGVzdA$YSBzYWx0IG9mIGEgdGVzdA",
                "the hash costs more than m=262144,t=64,p=16",
            ),
            (good.trim(), "`ann` is there twice"),
        ] {
            let problems = Users::parse(&format!("# x\n{good}{line}\n")).unwrap_err();
            assert_eq!(problems.len(), 1, "{line}: {problems:?}");
            assert_eq!(problems[0].0, Some(3), "{line}");
            assert!(problems[0].1.contains(what), "{line}: {problems:?}");
        }
        assert_eq!(Users::parse("# nobody\n").unwrap_err()[0].0, None);
        assert_eq!(
            Users::parse(&"x\n".repeat(99)).unwrap_err().len(),
            MOST_PROBLEMS
        );
    }

    #[test]
    fn a_file_that_cannot_be_read_is_a_problem() {
        let problems = Users::load(Path::new("/nonexistent/users")).unwrap_err();
        let said = problems[0].to_string();
        assert!(
            said.starts_with("/nonexistent/users: cannot be read: "),
            "{said}"
        );
        assert_eq!(Users::load(Path::new("/dev/zero")).unwrap_err().len(), 1);
    }
}
