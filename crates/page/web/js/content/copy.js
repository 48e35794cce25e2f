// Puts text on the clipboard. Pages that came over plain HTTP have no clipboard API, which is the usual
// case in a home network: there the old command on a selected field is used.

export async function copyText(document, text, focus) {
  try {
    await document.defaultView.navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copySelected(document, text, focus);
  }
}

function copySelected(document, text, focus) {
  const field = document.createElement('textarea');
  field.value = text;
  field.readOnly = true;
  field.className = 'md-clipboard';
  // Inside the dialog, if the button is in one: what is outside of it cannot be selected.
  (focus?.closest('dialog') ?? document.body).appendChild(field);
  field.select();
  let done = false;
  try {
    done = document.execCommand('copy');
  } catch {
    done = false;
  }
  field.remove();
  focus?.focus();
  return done;
}
