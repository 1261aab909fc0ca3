// Signing in by a link of `lisao keys link`: its token stands behind `#t=`, which no server sees. It is
// used when the reader says so: a program that looks at links beforehand uses none up, and nobody is
// signed in as another by a click alone.
import {computed, signal} from '@preact/signals';
import {useState} from 'preact/hooks';
import {ApiError, getKey, keyIsKept, setKey} from './api';
import {Modal} from './dialogs';
import {t} from './i18n';
import {exchange} from './session';
import {connect, say} from './state';

const token = signal('');
export const invited = computed(() => token.value !== '');

/** Takes it out of the address at once. */
export function takeLink(): void {
    const given = /^#t=(.{1,200})/.exec(location.hash)?.[1];
    if (!given) return;
    history.replaceState(null, '', location.pathname + location.search);
    token.value = given;
}
addEventListener('hashchange', takeLink);

const wrong = ['link_unknown', 'link_used', 'link_expired', 'link_revoked'] as const;

export function SignIn() {
    const [kept, setKept] = useState(keyIsKept());
    const [trying, setTrying] = useState(false);
    const [failure, setFailure] = useState('');
    const [over, setOver] = useState(false); // this link is good for nothing
    const close = () => (token.value = '');
    const enter = async (e: Event) => {
        e.preventDefault();
        if (trying) return;
        setTrying(true);
        try {
            const {key, name} = await exchange(token.value);
            setKey(key, kept);
            close();
            if (await connect()) say(t('signedIn', name));
        } catch (e) {
            const code = e instanceof ApiError ? wrong.find((w) => w === e.code) : undefined;
            setFailure(code ? t(code) : e instanceof ApiError ? e.message : t('errorNetwork'));
            setOver(!!code);
            setTrying(false);
        }
    };
    return (
        <Modal title={t('signIn')} onClose={close}>
            <form onSubmit={enter}>
                <p class={failure ? 'hint wrong' : 'hint'} role="status">{failure || t(getKey() ? 'signInOther' : 'signInHint')}</p>
                {!over && <label class="check"><input type="checkbox" checked={kept} onChange={(e) => setKept(e.currentTarget.checked)} />{t('keyKeep')}</label>}
                <footer>
                    <button type="button" class="quiet" onClick={close}>{t(over ? 'close' : 'cancel')}</button>
                    {!over && <button type="submit" class="main" disabled={trying} autoFocus>{t('signIn')}</button>}
                </footer>
            </form>
        </Modal>
    );
}
