"""How the stepper looks, in Textual's CSS."""

CSS = """
#title { height: 1; padding: 0 1; background: $primary-background; text-wrap: nowrap; text-overflow: ellipsis; }
#left { width: 40; }
#tape { height: 1fr; text-wrap: nowrap; text-overflow: ellipsis; }
#source, #arrays { width: 1fr; height: 1fr; }
#tape, #source, #arrays { border: round $surface-lighten-2; padding: 0; background: $background; }
#tape, #source, #arrays { border-title-color: $text; scrollbar-size-vertical: 1; }
#code, #arrays { overflow-y: scroll; }
#formula { height: auto; max-height: 50%; scrollbar-size-vertical: 1; margin-bottom: 1; }
#code { height: 1fr; scrollbar-size-vertical: 1; }
#tape:focus, #source:focus-within, #arrays:focus { border: round $accent; }
#arrays > .option-list--option-highlighted { background: $surface-lighten-1; }
#search { height: 3; }
#message { height: auto; max-height: 4; padding: 0 1; }
#message.error { background: $error; color: $text; }
#too-small { display: none; width: 100%; height: 100%; content-align: center middle; text-align: center; }
.narrow #left { width: 30; }
.narrow #look { layout: vertical; }
.too-small #all { display: none; }
.too-small #too-small { display: block; }
"""
