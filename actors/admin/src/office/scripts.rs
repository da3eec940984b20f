//! Commands about named scripts. The library decides; here its words become answers.

use comet_kernel::contract::admin::Answer;
use comet_kernel::contract::library::{DropScript, LibraryError, ListScripts, LoadScript, RollbackScript, ShowScript};
use comet_kernel::{Handle, Message};

use super::Office;

/// Who loads scripts through the admin socket, in the library's books.
const OPERATOR: &str = "operator";

impl Office {
    pub(super) async fn load_script(&self, name: String, source: String) -> Answer {
        let load = LoadScript { name: name.into(), source: source.into(), by: OPERATOR.to_owned() };
        self.library(&self.parts.aso.load_script, load, |hash| Answer::Hash(hash.to_string())).await
    }

    pub(super) async fn list_scripts(&self) -> Answer {
        self.library(&self.parts.aso.list_scripts, ListScripts, Answer::Scripts).await
    }

    pub(super) async fn show_script(&self, name: String) -> Answer {
        let show = ShowScript { name: name.into() };
        self.library(&self.parts.aso.show_script, show, |script| Answer::Scripts(vec![script])).await
    }

    pub(super) async fn drop_script(&self, name: String) -> Answer {
        self.library(&self.parts.aso.drop_script, DropScript { name: name.into() }, |()| Answer::Done).await
    }

    pub(super) async fn rollback_script(&self, name: String) -> Answer {
        let rollback = RollbackScript { name: name.into() };
        self.library(&self.parts.aso.rollback_script, rollback, |hash| Answer::Hash(hash.to_string())).await
    }

    async fn library<M, T>(&self, handle: &Handle<M>, message: M, answer: impl FnOnce(T) -> Answer) -> Answer
    where
        M: Message<Reply = Result<T, LibraryError>>,
    {
        match self.ask(handle, message).await {
            Ok(Ok(reply)) => answer(reply),
            Ok(Err(LibraryError::NoScript(name))) => {
                Answer::Refused(format!("no script {name}; `comet script list` shows the names"))
            }
            Ok(Err(error @ LibraryError::Unavailable(_))) => Answer::Unavailable(error.to_string()),
            Ok(Err(error)) => Answer::Refused(error.to_string()),
            Err(answer) => answer,
        }
    }
}
