// Which of several models is asked.
import {Chip} from './icons';
import {number, t} from './i18n';
import {Opener} from './menu';
import {chooseModel, model, models} from './state';

export function ModelPicker() {
    const now = model.value;
    if (models.value.length < 2 || !now) return null;
    return (
        <Opener label={`${t('modelPick')}: ${now.id}`} face={<><Chip /><span>{now.id}</span></>} class="pill toggle picked" menu={false} side="up">
            {() => (
                <fieldset class="efforts">
                    <legend>{t('modelPick')}</legend>
                    {models.value.map((m) => (
                        <label key={m.id}>
                            <input type="radio" name="model" checked={m.id === now.id} onChange={() => chooseModel(m.id)} />
                            <span><b>{m.id}</b><small>{t('context')}: {t('tokens', number(m.context))}</small></span>
                        </label>
                    ))}
                </fieldset>
            )}
        </Opener>
    );
}
