"""Extensions for any user of Mercurial: each package in here loads by itself, also where there is no autosync."""
